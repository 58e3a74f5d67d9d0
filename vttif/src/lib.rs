//! Infers the topology and traffic matrix of an application from its Ethernet frames.
