//! Matrices made small enough to be drawn.

use crate::matrix::TrafficMatrix;

/// A matrix made smaller: each cell is the mean of `block` x `block` pairs.
pub(crate) struct Blocks<'a> {
    matrix: &'a TrafficMatrix,
    pub(crate) block: usize,
}

impl<'a> Blocks<'a> {
    /// At most `most` cells wide and high.
    pub(crate) fn fitting(matrix: &'a TrafficMatrix, most: usize) -> Self {
        Self { matrix, block: matrix.len().div_ceil(most.max(1)).max(1) }
    }

    /// The number of rows, and of columns.
    pub(crate) fn len(&self) -> usize {
        self.matrix.len().div_ceil(self.block)
    }

    pub(crate) fn mean(&self, row: usize, column: usize) -> f64 {
        let range = |i: usize| i * self.block..((i + 1) * self.block).min(self.matrix.len());
        let pairs = range(row).flat_map(|a| range(column).map(move |b| (a, b)));
        let sum: f64 = pairs.map(|(a, b)| self.matrix.get(a, b)).sum();
        sum / (range(row).len() * range(column).len()).max(1) as f64
    }

    /// The cells that aren't 0: row, column and mean.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let cells = (0..self.len()).flat_map(|row| (0..self.len()).map(move |column| (row, column)));
        cells.map(|(row, column)| (row, column, self.mean(row, column))).filter(|(_, _, mean)| *mean > 0.0)
    }
}
