//! What Linux says about processes: processor time, memory, children.

use std::fs;
use std::io;

use serde::Serialize;

use crate::stats::rounded;

/// Clock ticks per second in `/proc`: `USER_HZ`, 100 on every architecture Linux and Rust share.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// Resident now (`VmRSS`).
    pub(crate) resident_mib: f64,
    /// Most resident since the start or the last [`reset_peak`] (`VmHWM`).
    pub(crate) peak_mib: f64,
}

/// The machine, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// The processor's name.
    pub(crate) model: String,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// All memory, in MiB.
    pub(crate) memory_mib: u64,
}

impl Machine {
    /// This machine; what cannot be read is left empty.
    pub(crate) fn this() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let model = text("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
        let memory_kib: u64 = field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.unwrap_or_default(),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory_kib / 1024,
        }
    }
}

/// Processor seconds that a process has used, in user and kernel mode, its ended children not counted.
///
/// # Errors
/// If there is no such process.
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = Stat::read(pid)?;
    Ok(stat.ticks as f64 / TICKS_PER_SECOND)
}

/// The memory of a process.
///
/// # Errors
/// If there is no such process.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name| {
        let kib: u64 = field(&status, name).ok_or(io::ErrorKind::InvalidData)?;
        Ok::<_, io::Error>(rounded(kib as f64 / 1024.0, 1))
    };
    Ok(Memory { resident_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
}

/// Starts the peak of a process anew. Where the kernel does not allow it, the peak stays that of its whole life.
pub(crate) fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// A process and the name of its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: u32,
    /// Its program's name, cut by the kernel to 15 bytes.
    pub(crate) name: String,
}

/// The direct children of a process.
pub(crate) fn children(parent: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = Stat::read(pid).ok()?; // it may have ended in between
            (stat.parent == parent).then_some(Process { pid, name: stat.name })
        })
        .collect()
}

/// What we need of `/proc/{pid}/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// `pid (name) state parent …`; the name may hold spaces and parentheses, so it ends at the last one.
    fn parse(line: &str) -> Option<Self> {
        let (start, rest) = line.rsplit_once(')')?;
        let name = start.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields 14 and 15 of proc(5) are `utime` and `stime`; ours start at field 3.
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self { name, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// The number after `name` in lines of `name  number kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a (b) c) S 3 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 100 200 300";
        assert_eq!(Stat::parse(line), Some(Stat { name: "a (b) c".into(), parent: 3, ticks: 300 }));
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let pid = std::process::id();
        reset_peak(pid);
        let memory = memory(pid).unwrap();
        assert!(memory.resident_mib > 0.5 && memory.peak_mib >= memory.resident_mib * 0.5, "{memory:?}");
        assert!(Machine::this().cores > 0);
    }

    #[test]
    fn work_shows_in_the_time_of_its_process() {
        let pid = std::process::id();
        let before = cpu_seconds(pid).unwrap();
        let begun = std::time::Instant::now();
        let worked = || cpu_seconds(pid).unwrap() - before;
        while worked() < 0.05 {
            assert!(begun.elapsed().as_secs() < 30, "{} s of work seen in 30 s", worked());
        }
    }

    #[test]
    fn a_child_is_found_by_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = children(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|process| process.pid == child.id()), "{found:?}");
    }
}
