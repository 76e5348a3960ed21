//! Characters that a URL may not hold, because a reader cannot see them or the parser drops them (THREATS 3, check 1).

/// Unicode's Default_Ignorable_Code_Point and the interlinear annotation characters: drawn as nothing, or changing the
/// direction of what is drawn. Sorted, inclusive.
const INVISIBLE: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),       // soft hyphen
    ('\u{34f}', '\u{34f}'),     // combining grapheme joiner
    ('\u{61c}', '\u{61c}'),     // Arabic letter mark
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),   // Mongolian selectors
    ('\u{200b}', '\u{200f}'),   // zero-width characters, direction marks
    ('\u{2028}', '\u{202e}'),   // separators, direction embeddings and overrides
    ('\u{2060}', '\u{206f}'),   // word joiner, invisible operators, direction isolates
    ('\u{2800}', '\u{2800}'),   // blank Braille pattern
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0f}'),   // variation selectors
    ('\u{feff}', '\u{feff}'),   // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),   // half-width Hangul filler
    ('\u{fff0}', '\u{fffd}'),   // unassigned, interlinear annotation, replacement characters
    ('\u{13430}', '\u{1345f}'), // hieroglyph format controls
    ('\u{1bca0}', '\u{1bca3}'), // shorthand format controls
    ('\u{1d159}', '\u{1d159}'), // musical null note head
    ('\u{1d173}', '\u{1d17a}'), // musical format controls
    ('\u{e0000}', '\u{e0fff}'), // tags, variation selectors supplement
];

/// Whether a URL's text may not hold `character`.
pub(super) fn is_refused(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || (!character.is_ascii() && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&character)))
}
