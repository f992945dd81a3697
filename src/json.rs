//! Mistakes in JSON, told without repeating it.

/// What is wrong. serde_json quotes a value of the wrong type, which may be a secret in the wrong place.
#[must_use]
pub fn mistake(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(", expected ") {
        Some((_value, expected)) => format!("expected {expected}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_repeated_and_its_place_is_told() {
        let error = serde_json::from_str::<bool>("\n \"hunter2, expected nothing\"").unwrap_err();
        assert_eq!(mistake(&error), "expected a boolean at line 2 column 28");
        let error = serde_json::from_str::<bool>("x").unwrap_err();
        assert_eq!(mistake(&error), "expected value at line 1 column 1");
    }
}
