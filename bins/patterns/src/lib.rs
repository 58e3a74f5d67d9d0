//! A bulk synchronous parallel workload over TCP, as in the VTTIF papers.
