//! Measurements that aren't one solver on one class.

use crate::report::Row;

pub(crate) fn readapt(_verbose: bool) -> anyhow::Result<Vec<Row>> {
    Ok(Vec::new())
}

pub(crate) fn growth() -> anyhow::Result<Vec<Row>> {
    Ok(Vec::new())
}
