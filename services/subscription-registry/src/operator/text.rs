//! Texts that callers write for people.

use slipstream_core::problem::FieldError;

/// The longest name, in characters.
const NAME_LEN_MAX: usize = 200;

/// Notes in `errors` when `text`, given as the member `name`, is empty, too long, or holds control characters (a NUL,
/// for one, cannot be stored everywhere).
pub(crate) fn check_name(name: &str, text: &str, errors: &mut Vec<FieldError>) {
    let detail = if text.trim().is_empty() {
        "must not be empty".to_owned()
    } else if text.chars().count() > NAME_LEN_MAX {
        format!("must have at most {NAME_LEN_MAX} characters")
    } else if text.chars().any(char::is_control) {
        "must not hold control characters".to_owned()
    } else {
        return;
    };
    errors.push(FieldError::at(name, detail));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_texts_for_people() {
        for (text, is_fine) in [
            ("Mühle & Söhne", true),
            (&"é".repeat(200), true),
            ("", false),
            ("  ", false),
            ("a\0", false),
            ("a\n", false),
            (&"é".repeat(201), false),
        ] {
            let mut errors = Vec::new();
            check_name("name", text, &mut errors);
            assert_eq!(errors.is_empty(), is_fine, "{text:?}");
        }
    }
}
