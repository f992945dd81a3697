//! Functions as trials of a test program: a file of cases is a theme, and each function in it has its own name.

use libtest_mimic::Trial;

/// Makes cases of functions, with their names.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        /// The cases of this file.
        pub fn cases() -> Vec<(&'static str, fn())> {
            vec![$((stringify!($name), $name as fn())),+]
        }
    };
}
pub(crate) use cases;

/// A case fails by a panic.
pub fn of(theme: &'static str, cases: Vec<(&'static str, fn())>) -> impl Iterator<Item = Trial> {
    cases.into_iter().map(move |(name, case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
        .with_kind(theme)
    })
}
