//! What can be wrong with a problem.

/// Why something can't be part of a problem. Places are those of the JSON form, such as `hosts[2]`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProblemError {
    /// A figure is negative, infinite or not a number.
    #[error("{place}: {what} is {value}; it must be a finite number, at least 0")]
    Figure {
        /// Where, such as ``hosts[2] (`h2`)``.
        place: String,
        /// Which figure.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A name is empty.
    #[error("{place}: the name is empty")]
    EmptyName {
        /// Where.
        place: String,
    },
    /// Two hosts or two VMs have the same name.
    #[error("{place}: the name `{name}` is taken by {first}")]
    DuplicateName {
        /// Where.
        place: String,
        /// The name.
        name: String,
        /// Where it stands first.
        first: String,
    },
    /// A name or an index that no host or VM of this problem has.
    #[error("{place}: there is no {kind} `{name}`")]
    Unknown {
        /// Where.
        place: String,
        /// `host` or `VM`.
        kind: &'static str,
        /// The name or index.
        name: String,
    },
    /// Two edges join the same hosts in the same direction.
    #[error("{place}: there is an edge from `{from}` to `{to}` already; merge them into one")]
    DuplicateEdge {
        /// Where.
        place: String,
        /// Its start.
        from: String,
        /// Its end.
        to: String,
    },
    /// An edge or a demand starts where it ends.
    #[error("{place}: starts and ends at `{name}`")]
    Loop {
        /// Where.
        place: String,
        /// The host or VM.
        name: String,
    },
    /// A pin contradicts another one or the given mapping.
    #[error("{place}: `{vm}` is pinned to `{first}` and to `{second}`")]
    PinConflict {
        /// Where.
        place: String,
        /// The VM.
        vm: String,
        /// The first host.
        first: String,
        /// The other host.
        second: String,
    },
    /// A mapping that must name every VM lacks one.
    #[error("{place}: has no host for `{vm}`; a mapping names every VM")]
    Incomplete {
        /// Which mapping.
        place: String,
        /// The VM without a host.
        vm: String,
    },
    /// A path of the current state or of a solution isn't a path of the graph.
    #[error("{place}: {problem}")]
    Path {
        /// Which path.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Not JSON, or not of the documented form.
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was found and what expected.
        message: String,
    },
}
