//! Decides VM placement, overlay links and routes for the traffic of an application.
