//! A laboratory: hosts as network namespaces, an emulated WAN between them.
