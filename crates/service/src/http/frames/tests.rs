use super::*;

const PING: u8 = 6;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    frame.resize(9 + payload, 0);
    frame
}

fn connection() -> (Frames, Instant) {
    let now = Instant::now();
    let mut frames = Frames::new(now);
    assert_eq!(frames.read(PREFACE, now), Ok(Seen::Frames));
    (frames, now)
}

#[test]
fn http1_is_told_by_its_first_bytes() {
    let now = Instant::now();
    for head in ["GET / HTTP/1.1\r\n\r\n", "P", "POST / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n"] {
        let mut frames = Frames::new(now);
        assert_eq!(frames.read(head.as_bytes(), now), Ok(Seen::NotFrames), "{head}");
        for _ in 0..10 {
            assert_eq!(frames.read(&frame(PING, 0, 8).repeat(200), now), Ok(Seen::NotFrames), "{head}");
        }
    }
}

#[test]
fn a_head_is_under_way_until_its_last_byte_however_it_is_cut() {
    let bytes = [
        frame(4, 0, 18),
        frame(HEADERS, END_STREAM, 30),
        frame(CONTINUATION, 0, 7),
        frame(CONTINUATION, END_HEADERS, 3),
        frame(PING, 0, 8),
    ];
    let (before, after) = (PREFACE.len() + bytes[0].len(), bytes[4].len());
    let whole = [PREFACE, &bytes.concat()].concat();
    for size in 1..whole.len() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        let mut at = 0;
        for piece in whole.chunks(size) {
            at += piece.len();
            let expected = if at < PREFACE.len() {
                Seen::NotFrames
            } else if (before + 9..whole.len() - after).contains(&at) {
                Seen::Head
            } else {
                Seen::Frames
            };
            assert_eq!(frames.read(piece, now), Ok(expected), "after {at} bytes, by {size}");
        }
    }
}

#[test]
fn frames_that_carry_nothing_are_limited_and_come_back_with_time() {
    for kind in [2, 4, PING, 8, CONTINUATION, 0xbb] {
        let (mut frames, now) = connection();
        let frame = frame(kind, 0, 8);
        for _ in 0..ALLOWANCE_MAX {
            frames.read(&frame, now).unwrap();
        }
        assert_eq!(frames.read(&frame, now), Err(Flooded), "{kind}");
        frames.state = START;
        assert_eq!(frames.read(&frame, now + ONE_COMES_BACK_IN).map(drop), Ok(()), "{kind}");
    }
    let (mut frames, now) = connection();
    let empty = frame(DATA, 0, 0);
    assert_eq!(frames.read(&empty.repeat(ALLOWANCE_MAX as usize + 1), now), Err(Flooded));
}

#[test]
fn a_busy_peer_never_uses_its_allowance_up() {
    let (mut frames, now) = connection();
    let update = frame(8, 0, 4);
    let request = [frame(HEADERS, END_HEADERS, 20), frame(DATA, END_STREAM, 100), update.repeat(2), frame(PING, 0, 8)];
    for _ in 0..100_000 {
        assert_eq!(frames.read(&request.concat(), now), Ok(Seen::Frames));
    }
}

#[test]
fn opening_and_resetting_at_once_is_stopped() {
    let (mut frames, start) = connection();
    let pair = [frame(HEADERS, END_HEADERS | END_STREAM, 20), frame(RST_STREAM, 0, 4)].concat();
    let within = |per_second: u64, frames: &mut Frames| {
        (0..20_000).position(|number| {
            frames.read(&pair, start + Duration::from_micros(number * 1_000_000 / per_second)).is_err()
        })
    };
    assert_eq!(within(100, &mut frames), None, "a hundred a second are let pass");
    let stopped = within(1000, &mut connection().0).expect("a thousand a second are not");
    assert!(stopped < 1500, "{stopped}");
}
