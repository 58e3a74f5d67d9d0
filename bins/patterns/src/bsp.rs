//! One rank of a bulk synchronous parallel program, as a state machine.
//!
//! It knows no sockets and no clock. It is told of connections, messages and
//! ended compute phases, and asked what to send and what to do next. Over every
//! channel goes one message each way in each iteration, so the message's
//! iteration is also its sequence number; that is what lets a broken
//! connection, and even a restarted rank, take up where it was.

use crate::error::Violation;
use crate::pattern::Role;
use crate::wire::{Goodbye, Header};

/// The state of a rank.
#[derive(Clone, Debug)]
pub struct Bsp {
    phase: Phase,
    iteration: u64,
    limit: Option<u64>,
    message: u64,
    peers: Vec<Peer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a first connection to every peer.
    Joining,
    /// Between two communication phases; `started` once the caller knows.
    Computing { started: bool },
    /// Messages of the current iteration are under way.
    Communicating,
    /// No further iteration.
    Finished(Ending),
}

/// Why there is no further iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All are done.
    Done,
    /// [`Bsp::stop`] was called.
    Stopped,
    /// This peer, an index, asked to stop.
    StoppedBy(usize),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Compute, then call [`Bsp::computed`].
    Compute,
    /// Say goodbye; see [`Bsp::next_frame`] and [`Bsp::is_over`].
    Leave(Ending),
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    role: Role,
    connection: Connection,
    /// The message that the peer is to send next.
    wanted: u64,
    /// The message that is to be sent next; all lesser ones are with the connection.
    sent: u64,
    /// Messages below this may be sent.
    released: u64,
    /// A message is partly with the connection.
    sending: bool,
    heard: Option<Goodbye>,
    said: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    None,
    /// Hellos were exchanged. `announced`: this side's resume frame is sent;
    /// `resume`: the peer's has come.
    Greeted {
        joining: bool,
        announced: bool,
        resume: bool,
    },
}

impl Bsp {
    /// A rank with these peers, messages of `message` bytes, and as many iterations as `limit`.
    pub fn new(roles: impl IntoIterator<Item = Role>, message: u64, limit: Option<u64>) -> Self {
        let peer = |role| Peer {
            role,
            connection: Connection::None,
            wanted: 0,
            sent: 0,
            released: 0,
            sending: false,
            heard: None,
            said: false,
        };
        Self {
            phase: Phase::Joining,
            iteration: 0,
            limit,
            message,
            peers: roles.into_iter().map(peer).collect(),
        }
    }

    /// How many iterations are complete.
    pub fn iterations(&self) -> u64 {
        self.iteration
    }

    /// Is this rank without an iteration of its own yet?
    pub fn is_joining(&self) -> bool {
        self.phase == Phase::Joining
    }

    /// Is `peer` expected to be there, and to come back if it isn't?
    pub fn expects(&self, peer: usize) -> bool {
        self.peers[peer].heard.is_none() && !self.is_stopping()
    }

    /// Has everything been said and heard?
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
            && self.peers.iter().all(|p| p.heard.is_some() && (p.said || p.connection == Connection::None))
    }

    /// Is this rank to stop before all iterations are done?
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Finished(Ending::Stopped | Ending::StoppedBy(_)))
    }

    /// Hellos were exchanged with `peer` over a new connection.
    pub fn connected(&mut self, peer: usize, joining: bool) {
        let peer = &mut self.peers[peer];
        peer.connection = Connection::Greeted { joining, announced: false, resume: false };
        peer.sending = false;
        peer.said = false;
    }

    /// The connection to `peer` is gone. Is it one lost, rather than one that
    /// had served its purpose?
    pub fn disconnected(&mut self, peer: usize) -> bool {
        let lost = self.expects(peer);
        let peer = &mut self.peers[peer];
        peer.connection = Connection::None;
        peer.sending = false;
        lost
    }

    /// `peer` wants to get the message of iteration `next` next.
    ///
    /// # Errors
    ///
    /// It said so already, or there is no connection.
    pub fn resumed(&mut self, peer: usize, next: u64) -> Result<(), Violation> {
        let peer = &mut self.peers[peer];
        match &mut peer.connection {
            Connection::Greeted { resume, .. } if !*resume => *resume = true,
            _ => return Err(Violation::Order),
        }
        peer.sent = next;
        Ok(())
    }

    /// The header of a message from `peer` has come: may it?
    ///
    /// # Errors
    ///
    /// It is not the message that is due, or not as long as agreed.
    pub fn receiving(&self, peer: usize, iteration: u64, length: u64) -> Result<(), Violation> {
        let peer = &self.peers[peer];
        if !matches!(peer.connection, Connection::Greeted { announced: true, .. }) {
            return Err(Violation::Order);
        }
        if iteration != peer.wanted {
            return Err(Violation::Turn { expected: peer.wanted, found: iteration });
        }
        if length != self.message {
            return Err(Violation::Length { expected: self.message, found: length });
        }
        Ok(())
    }

    /// All of the message from `peer` that was due has come.
    pub fn received(&mut self, peer: usize) {
        self.peers[peer].wanted += 1;
    }

    /// `peer` said goodbye.
    pub fn heard_goodbye(&mut self, peer: usize, goodbye: Goodbye) {
        self.peers[peer].heard = Some(goodbye);
        if goodbye == Goodbye::Stop && !matches!(self.phase, Phase::Finished(_)) {
            self.phase = Phase::Finished(Ending::StoppedBy(peer));
        }
    }

    /// The compute phase is over.
    pub fn computed(&mut self) {
        if matches!(self.phase, Phase::Computing { .. }) {
            self.phase = Phase::Communicating;
        }
    }

    /// No further iteration, here and everywhere.
    pub fn stop(&mut self) {
        if !self.is_stopping() {
            self.phase = Phase::Finished(Ending::Stopped);
        }
    }

    /// What to do next; `None`: nothing until something happens.
    pub fn step(&mut self) -> Option<Step> {
        if self.phase == Phase::Joining {
            self.join();
        }
        if self.phase == Phase::Communicating {
            self.communicate();
        }
        match &mut self.phase {
            Phase::Computing { started } if !*started => {
                *started = true;
                Some(Step::Compute)
            }
            Phase::Finished(ending) => Some(Step::Leave(*ending)),
            _ => None,
        }
    }

    /// The next frame for `peer`, once the one before is all with the
    /// connection. A data frame is followed by [`Bsp::sent`].
    pub fn next_frame(&mut self, peer: usize) -> Option<Header> {
        let (joining, stopping, message) = (self.is_joining(), self.is_stopping(), self.message);
        let finished = matches!(self.phase, Phase::Finished(_));
        let peer = &mut self.peers[peer];
        let Connection::Greeted { announced, resume, .. } = &mut peer.connection else { return None };
        if peer.said || peer.sending {
            return None;
        }
        if !*announced && !joining && !stopping {
            *announced = true;
            return Some(Header::Resume { next: peer.wanted });
        }
        if stopping {
            peer.said = true;
            return Some(Header::Goodbye(Goodbye::Stop));
        }
        if !*resume {
            return None;
        }
        if peer.sent < peer.released {
            peer.sending = true;
            return Some(Header::Data { iteration: peer.sent, length: message });
        }
        if finished {
            peer.said = true;
            return Some(Header::Goodbye(Goodbye::Done));
        }
        None
    }

    /// The connection to `peer` has taken all of the message.
    pub fn sent(&mut self, peer: usize) {
        let peer = &mut self.peers[peer];
        peer.sending = false;
        peer.sent += 1;
    }

    /// Takes up the iteration of the peers that were in the run before this
    /// rank, or the first one. What the least of them wants is where to start:
    /// each message can be made again for whoever asks for it.
    fn join(&mut self) {
        let known = self.peers.iter().all(|peer| {
            matches!(peer.connection, Connection::Greeted { joining, resume, .. } if joining || resume)
        });
        if !known {
            return;
        }
        let in_run = |peer: &&Peer| matches!(peer.connection, Connection::Greeted { joining: false, .. });
        let start = self.peers.iter().filter(in_run).map(|peer| peer.sent).min().unwrap_or(0);
        self.iteration = start;
        for peer in &mut self.peers {
            peer.wanted = start;
            peer.released = start;
        }
        self.next_iteration();
    }

    /// Releases the messages whose turn it is; ends the iteration when all are through.
    fn communicate(&mut self) {
        let current = self.iteration;
        let heard_from =
            |role: Role| self.peers.iter().filter(|p| p.role == role).all(|p| p.wanted > current);
        let from_children = heard_from(Role::Child);
        let from_parent = from_children && heard_from(Role::Parent);
        for peer in &mut self.peers {
            let turn = match peer.role {
                Role::Partner => true,
                Role::Parent => from_children,
                Role::Child => from_parent,
            };
            if turn {
                peer.released = current + 1;
            }
        }
        if self.peers.iter().all(|p| p.wanted > current && p.sent > current) {
            self.iteration += 1;
            self.next_iteration();
        }
    }

    fn next_iteration(&mut self) {
        self.phase = match self.limit {
            Some(limit) if self.iteration >= limit => Phase::Finished(Ending::Done),
            _ => Phase::Computing { started: false },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: u64 = 8;

    /// A rank with one partner, in the communication phase of iteration 0.
    fn communicating() -> Bsp {
        let mut bsp = Bsp::new([Role::Partner], MESSAGE, None);
        assert_eq!(bsp.step(), None);
        bsp.connected(0, true);
        assert_eq!(bsp.step(), Some(Step::Compute));
        assert_eq!(bsp.next_frame(0), Some(Header::Resume { next: 0 }));
        assert_eq!(bsp.next_frame(0), None, "the peer has not said what it wants");
        bsp.resumed(0, 0).unwrap();
        bsp.computed();
        assert_eq!(bsp.step(), None);
        bsp
    }

    #[test]
    fn an_iteration_ends_once_all_is_received_and_sent() {
        let mut bsp = communicating();
        assert_eq!(bsp.next_frame(0), Some(Header::Data { iteration: 0, length: MESSAGE }));
        bsp.receiving(0, 0, MESSAGE).unwrap();
        bsp.received(0);
        assert_eq!(bsp.step(), None, "the connection has not taken all of the message");
        assert_eq!(bsp.next_frame(0), None);
        bsp.sent(0);
        assert_eq!(bsp.step(), Some(Step::Compute));
        assert_eq!(bsp.iterations(), 1);
    }

    #[test]
    fn what_is_not_due_is_a_violation() {
        let mut bsp = communicating();
        assert_eq!(bsp.receiving(0, 1, MESSAGE), Err(Violation::Turn { expected: 0, found: 1 }));
        assert_eq!(bsp.receiving(0, 0, 9), Err(Violation::Length { expected: MESSAGE, found: 9 }));
        assert_eq!(bsp.resumed(0, 0), Err(Violation::Order));
        bsp.disconnected(0);
        assert_eq!(bsp.resumed(0, 0), Err(Violation::Order));
        assert_eq!(bsp.receiving(0, 0, MESSAGE), Err(Violation::Order));
    }

    #[test]
    fn a_broken_connection_is_lost_unless_there_was_a_goodbye() {
        let mut bsp = communicating();
        assert!(bsp.disconnected(0));
        bsp.connected(0, false);
        bsp.heard_goodbye(0, Goodbye::Stop);
        assert!(!bsp.disconnected(0));
        assert_eq!(bsp.step(), Some(Step::Leave(Ending::StoppedBy(0))));

        let mut bsp = communicating();
        bsp.stop();
        assert!(!bsp.disconnected(0), "a rank that stops needs nobody any more");
    }

    #[test]
    fn a_message_under_way_is_ended_before_the_goodbye() {
        let mut bsp = communicating();
        assert!(matches!(bsp.next_frame(0), Some(Header::Data { .. })));
        bsp.stop();
        assert_eq!(bsp.next_frame(0), None);
        bsp.sent(0);
        assert_eq!(bsp.next_frame(0), Some(Header::Goodbye(Goodbye::Stop)));
        assert_eq!(bsp.next_frame(0), None);
        assert!(!bsp.is_over());
        bsp.heard_goodbye(0, Goodbye::Stop);
        assert!(bsp.is_over());
    }
}
