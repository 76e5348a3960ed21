//! Texts that callers write: names, codes, versions and descriptions (SPEC 6.4).

use slipstream_core::problem::FieldError;

pub(crate) use crate::operator::text::check_name;

/// The longest code, in characters.
const CODE_LEN_MAX: usize = 100;
/// The longest version, in characters.
const VERSION_LEN_MAX: usize = 20;
/// The longest description, in characters.
const DESCRIPTION_LEN_MAX: usize = 2000;

/// Notes in `errors` when `text`, given as the member `name`, is no code.
pub(crate) fn check_code(name: &str, text: &str, errors: &mut Vec<FieldError>) {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.len() > CODE_LEN_MAX {
        errors.push(FieldError::at(name, format!("must have at most {CODE_LEN_MAX} characters")));
    } else if !text.split(['.', '_', '-']).all(is_part) {
        errors.push(FieldError::at(name, "must be of letters and digits, in parts joined by one of `.`, `_` and `-`"));
    }
}

/// Whether `text` is a version: `v` and a number.
pub(crate) fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix('v').unwrap_or_default();
    !digits.is_empty() && text.len() <= VERSION_LEN_MAX && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Notes in `errors` when `text`, given as the member `name`, is no version.
pub(crate) fn check_version(name: &str, text: &str, errors: &mut Vec<FieldError>) {
    if !is_version(text) {
        errors.push(FieldError::at(name, "must be `v` and a number"));
    }
}

/// Notes in `errors` when `text`, given as the member `name`, is too long or holds control characters that no text of
/// several lines has (a NUL, for one, cannot be stored everywhere).
pub(crate) fn check_description(name: &str, text: &str, errors: &mut Vec<FieldError>) {
    if text.chars().count() > DESCRIPTION_LEN_MAX {
        errors.push(FieldError::at(name, format!("must have at most {DESCRIPTION_LEN_MAX} characters")));
    } else if text.chars().any(|it| it.is_control() && !matches!(it, '\n' | '\r' | '\t')) {
        errors.push(FieldError::at(name, "must not hold control characters but line breaks and tabs"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fine(check: fn(&str, &str, &mut Vec<FieldError>), text: &str) -> bool {
        let mut errors = Vec::new();
        check("it", text, &mut errors);
        errors.is_empty()
    }

    #[test]
    fn a_code_is_parts_of_letters_and_digits() {
        for code in ["a", "7", "vitals.observations.created", "A-b_C.9", &"x".repeat(100)] {
            assert!(is_fine(check_code, code), "{code}");
        }
        for other in ["", ".", "a.", ".a", "a..b", "a b", "ä", "a/b", "a\n", &"x".repeat(101)] {
            assert!(!is_fine(check_code, other), "{other:?}");
        }
    }

    #[test]
    fn a_version_is_v_and_a_number() {
        for version in ["v1", "v0", "v12", &format!("v{}", "9".repeat(19))] {
            assert!(is_fine(check_version, version), "{version}");
        }
        for other in ["", "v", "1", "V1", "v1.0", "v-1", "v1 ", "v١", &format!("v{}", "9".repeat(20))] {
            assert!(!is_fine(check_version, other), "{other:?}");
        }
    }

    #[test]
    fn a_description_may_have_lines() {
        for text in ["", "one\r\n\ttwo é", &"é".repeat(2000)] {
            assert!(is_fine(check_description, text), "{text:?}");
        }
        for text in ["a\0", "\u{1b}[0m", &"é".repeat(2001)] {
            assert!(!is_fine(check_description, text), "{text:?}");
        }
    }
}
