//! The parsers of `vsched`: task files, what is said over its socket, journals.

use std::time::Duration;

use ::vsched::protocol::{Request, Response};
use ::vsched::{TaskSet, place_all, simulate};

/// A file of tasks. What can be read can be placed and simulated.
pub fn task_set(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(set) = TaskSet::parse(text) else { return };
    if set.tasks.len() > 20 || set.cores.len() > 8 {
        return;
    }
    let reservations: Vec<_> = set.tasks.iter().map(|task| task.reservation).collect();
    if let Some(placement) = place_all(&reservations, &set.cores) {
        for core in 0..set.cores.len() {
            let on: Vec<_> =
                (0..reservations.len()).filter(|task| placement.core_of[*task] == core).collect();
            let share: f64 = on.iter().map(|task| reservations[*task].share()).sum();
            assert!(share <= set.cores[core].fraction() + 1e-6);
            let tasks: Vec<_> = on.into_iter().map(|task| set.tasks[task].clone()).collect();
            // Admission is exact whatever the phases are.
            assert_eq!(simulate(&tasks, Duration::from_millis(20), 1).misses, 0);
        }
    }
}

/// A line of the daemon's socket, from either end.
pub fn vsched_protocol(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()).ok(), Some(request));
    }
    if let Ok(response) = Response::decode(bytes) {
        // Numbers that are not finite can't be written in JSON.
        let _ = Response::decode(&response.encode());
    }
}

/// A journal.
pub fn vsched_journal(bytes: &[u8]) {
    ::vsched::io::journal::check_parser(bytes);
}
