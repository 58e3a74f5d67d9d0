//! Networks that exist: topologies of SNDlib and of the Internet Topology Zoo.
//!
//! Orlowski, Wessäly, Pióro, Tomaszewski: "SNDlib 1.0, Survivable Network Design Library", 2010;
//! Knight, Nguyen, Falkner, Bowden, Roughan: "The Internet Topology Zoo", 2011. Only who is joined
//! with whom and how far apart is taken from there; each file names its source.

/// A real network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicMap {
    /// Abilene (SNDlib): 12 nodes, 15 links.
    Abilene,
    /// Geant (SNDlib): 22 nodes, 36 links.
    Geant,
    /// AT&T MPLS (Topology Zoo): 25 nodes, 56 links.
    Att,
    /// Nobel-EU (SNDlib): 28 nodes, 41 links.
    NobelEu,
    /// GEANT in 2012 (Topology Zoo): 37 nodes, 58 links.
    Geant2012,
    /// Germany50 (SNDlib): 50 nodes, 88 links.
    Germany50,
    /// Tata in India (Topology Zoo): 143 nodes, 181 links.
    Tata,
}

impl PublicMap {
    fn text(self) -> &'static str {
        match self {
            Self::Abilene => include_str!("maps/abilene.txt"),
            Self::Geant => include_str!("maps/geant.txt"),
            Self::Att => include_str!("maps/att.txt"),
            Self::NobelEu => include_str!("maps/nobel-eu.txt"),
            Self::Geant2012 => include_str!("maps/geant2012.txt"),
            Self::Germany50 => include_str!("maps/germany50.txt"),
            Self::Tata => include_str!("maps/tata.txt"),
        }
    }

    /// Its links: two nodes and the distance between them in km.
    pub(super) fn links(self) -> Vec<(usize, usize, f64)> {
        let lines = self.text().lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let (a, b, km) = (fields.next()?, fields.next()?, fields.next()?);
                Some((a.parse().ok()?, b.parse().ok()?, km.parse().ok()?))
            })
            .collect()
    }

    /// How many nodes it has.
    pub fn nodes(self) -> usize {
        self.links().iter().map(|(a, b, _)| a.max(b) + 1).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_map_is_read() {
        use PublicMap::{Abilene, Att, Geant, Geant2012, Germany50, NobelEu, Tata};
        let sizes = [
            (Abilene, 12, 15),
            (Geant, 22, 36),
            (Att, 25, 56),
            (NobelEu, 28, 41),
            (Geant2012, 37, 58),
            (Germany50, 50, 88),
            (Tata, 143, 181),
        ];
        for (map, nodes, links) in sizes {
            assert_eq!((map.nodes(), map.links().len()), (nodes, links), "{map:?}");
        }
    }
}
