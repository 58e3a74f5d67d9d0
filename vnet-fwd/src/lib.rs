//! The forwarding engine of the Virtuoso overlay: rule table, cache, ports and links.
