//! What people read: lines on standard output, in colour on a terminal only.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use crate::environment::variable;

/// How a text stands out. Pad before painting: the codes have no width for the eye, but they have for `format!`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headings and what to copy.
    Strong,
    /// What can be overlooked.
    Faint,
    /// It is as it should be.
    Good,
    /// It is not, but that is expected or passes.
    Odd,
    /// It is wrong.
    Bad,
}

impl Style {
    /// The text for standard output.
    pub(crate) fn paint(self, text: impl Display) -> String {
        static COLOURED: OnceLock<bool> = OnceLock::new();
        self.paint_if(*COLOURED.get_or_init(|| std::io::stdout().is_terminal() && wanted()), text)
    }

    /// The text for standard error.
    pub(crate) fn paint_error(self, text: impl Display) -> String {
        self.paint_if(std::io::stderr().is_terminal() && wanted(), text)
    }

    fn paint_if(self, coloured: bool, text: impl Display) -> String {
        let code = match self {
            Self::Strong => 1,
            Self::Faint => 2,
            Self::Good => 32,
            Self::Odd => 33,
            Self::Bad => 31,
        };
        if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// The convention of no-color.org, and terminals that cannot.
fn wanted() -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Prints a line. A reader that has gone (`| head`) is no reason to stop what we do.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a name and a value in two columns.
pub(crate) fn field(name: &str, value: impl Display) {
    say(format_args!("  {} {value}", Style::Faint.paint(format_args!("{name:<14}"))));
}

/// Caller's text on one line and without control characters, which could move the cursor or change the terminal;
/// shortened to `max` characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line: String = text.chars().take(max).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_command_the_terminal() {
        assert_eq!(one_line("a\x1b[2J\nb", 20), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(one_line("éééé", 3), "ééé…");
        assert_eq!(one_line("ééé", 3), "ééé");
    }
}
