//! The ways in which the same services run, and one test for several of them.

/// How the services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All four in one process on two ports, with SQLite: what `slipstream up` is.
    OneProcess,
    /// Each as a process of its own, with PostgreSQL: what production is.
    FourProcesses,
    /// The program `slipstream up` itself, with the broker and the SQLite that it brings.
    Up,
}

/// Makes of each named journey two tests, `{name}::one_process` and `{name}::four_processes`.
///
/// A journey is an `async fn(Shape)` beside the call; a module and a function may share a name.
#[macro_export]
macro_rules! journeys {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process() {
                Box::pin(super::$name($crate::Shape::OneProcess)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn four_processes() {
                Box::pin(super::$name($crate::Shape::FourProcesses)).await;
            }
        }
    )+};
}

/// As [`journeys!`], in programs only: `{name}::up` and `{name}::four_processes`.
#[macro_export]
macro_rules! journeys_of_programs {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn up() {
                Box::pin(super::$name($crate::Shape::Up)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn four_processes() {
                Box::pin(super::$name($crate::Shape::FourProcesses)).await;
            }
        }
    )+};
}
