//! The client side of the control protocol: blocking calls to any daemon
//! through any other.

mod address;
mod apply;
mod error;
mod overlay;
mod stream;

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use vnet_core::control::{
    Body, DaemonStatus, Decoder, Envelope, InterfaceStatus, LinkStatus, PathStatus, PeerKey, Reply, Request,
    Response, RuleStatus, TrafficView, encode,
};
use vnet_core::network::NetworkId;
use vnet_core::{HostName, PublicKey};

use stream::Stream;

pub use address::Address;
pub use apply::{
    Applied, ApplyError, ApplyOptions, Cause, HandOver, Progress, Proposal, Rollback, apply, apply_around,
    propose,
};
pub use error::ClientError;
pub use overlay::{Daemon, Overlay};

/// How long a call waits for its reply unless [`Client::set_timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

// Up to this many bytes of requests fit the socket's buffers even if the
// daemon reads none of them, so that no second thread has to write them.
const WRITE_AHEAD: usize = 32 << 10;

/// A daemon and what to ask of it; `None` is the daemon at the other end of the connection.
pub type Call = (Option<HostName>, Request);

/// A control connection to a daemon. Requests for other daemons are handed
/// on by the Proxy.
///
/// ```no_run
/// use vnet_core::control::Request;
/// use vnetd::client::{Address, Client};
///
/// let mut client = Client::connect(&Address::Unix("/run/vnetd/a.sock".into()))?;
/// client.call(None, Request::Ping)?;
/// let target = "b".parse()?;
/// for link in client.links(Some(&target))? {
///     println!("{} {}", link.link, if link.state.up { "up" } else { &link.state.why });
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    address: Address,
    input: Decoder,
    next_id: u32,
    timeout: Duration,
    /// A request may have gone out by half.
    broken: bool,
}

impl Client {
    /// Connects to the daemon at `address`, waiting up to 5 s.
    pub fn connect(address: &Address) -> Result<Self, ClientError> {
        Self::connect_within(address, Duration::from_secs(5))
    }

    /// Connects to the daemon at `address`, waiting up to `timeout`.
    pub fn connect_within(address: &Address, timeout: Duration) -> Result<Self, ClientError> {
        let stream = Stream::connect(address, timeout)
            .map_err(|source| ClientError::Connect { address: address.clone(), source })?;
        Ok(Self {
            stream,
            address: address.clone(),
            input: Decoder::new(),
            next_id: 1,
            timeout: DEFAULT_TIMEOUT,
            broken: false,
        })
    }

    /// Where this client is connected to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How long calls wait for their replies.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long calls wait for their replies from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Asks `target` (`None`: the daemon at the other end) and waits for its reply.
    pub fn call(&mut self, target: Option<&HostName>, request: Request) -> Result<Reply, ClientError> {
        let mut responses = self.call_many(vec![(target.cloned(), request)])?;
        let response = responses.pop().ok_or_else(|| self.unexpected(target, "one request"))?;
        response.map_err(|source| ClientError::Refused { target: self.name(target), source })
    }

    /// Sends all requests at once and waits for all responses, which are
    /// returned in the order of the requests. Requests to one daemon are
    /// carried out in their order; daemons work side by side.
    pub fn call_many(&mut self, calls: Vec<Call>) -> Result<Vec<Response>, ClientError> {
        let deadline = Instant::now() + self.timeout;
        let mut places = HashMap::with_capacity(calls.len());
        let mut targets = Vec::with_capacity(calls.len());
        let mut bytes = Vec::new();
        for (place, (target, request)) in calls.into_iter().enumerate() {
            let id = self.new_id();
            targets.push(target.clone());
            places.insert(id, place);
            let envelope = Envelope { id, body: Body::Request(target, request) };
            let record = encode(&envelope)
                .map_err(|source| ClientError::Codec { address: self.address.clone(), source })?;
            bytes.extend_from_slice(&record);
        }
        let mut responses: Vec<Option<Response>> = targets.iter().map(|_| None).collect();
        let result = self.exchange(&bytes, deadline, &mut places, &mut responses);
        if let Err(error) = result {
            let waiting = responses.iter().zip(&targets).find(|(response, _)| response.is_none());
            return Err(match (waiting, error) {
                (Some((_, target)), Failure::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    ClientError::Timeout { target: self.name(target.as_ref()), after: self.timeout }
                }
                (_, Failure::Io(source)) => ClientError::Io { address: self.address.clone(), source },
                (_, Failure::Client(error)) => error,
            });
        }
        Ok(responses.into_iter().flatten().collect())
    }

    fn exchange(
        &mut self,
        bytes: &[u8],
        deadline: Instant,
        places: &mut HashMap<u32, usize>,
        responses: &mut [Option<Response>],
    ) -> Result<(), Failure> {
        if self.broken {
            return Err(Failure::Client(ClientError::Closed { address: self.address.clone() }));
        }
        if bytes.len() <= WRITE_AHEAD {
            self.broken = true;
            self.stream.write_until(bytes, deadline)?;
            self.broken = false;
            return self.receive(deadline, places, responses);
        }
        // The daemon stops reading from a client that doesn't read its
        // answers, so that both directions have to move at once.
        let mut writer = self.stream.try_clone()?;
        self.broken = true;
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || writer.write_until(bytes, deadline));
            let received = self.receive(deadline, places, responses);
            match writer.join() {
                Ok(Ok(())) => {
                    self.broken = false;
                    received
                }
                Ok(Err(error)) => received.and(Err(error.into())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn receive(
        &mut self,
        deadline: Instant,
        places: &mut HashMap<u32, usize>,
        responses: &mut [Option<Response>],
    ) -> Result<(), Failure> {
        let mut buffer = [0; 32 << 10];
        loop {
            while let Some(envelope) = self.input.next_envelope().map_err(|source| {
                Failure::Client(ClientError::Codec { address: self.address.clone(), source })
            })? {
                // Anything else is late: the answer to a call that timed out.
                if let Body::Response(response) = envelope.body
                    && let Some(place) = places.remove(&envelope.id)
                {
                    responses[place] = Some(response);
                }
            }
            if places.is_empty() {
                return Ok(());
            }
            match self.stream.read_until(&mut buffer, deadline)? {
                0 => return Err(Failure::Client(ClientError::Closed { address: self.address.clone() })),
                length => self.input.extend(&buffer[..length]),
            }
        }
    }

    fn new_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        id
    }

    fn name(&self, target: Option<&HostName>) -> String {
        target.map_or_else(|| format!("the daemon at {}", self.address), HostName::to_string)
    }

    fn unexpected(&self, target: Option<&HostName>, question: &'static str) -> ClientError {
        ClientError::Unexpected { target: self.name(target), question }
    }
}

/// Calls whose reply is known by type.
impl Client {
    /// The state of `target`.
    pub fn status(&mut self, target: Option<&HostName>) -> Result<DaemonStatus, ClientError> {
        match self.call(target, Request::Status)? {
            Reply::Status(status) => Ok(*status),
            _ => Err(self.unexpected(target, "a request for its status")),
        }
    }

    /// The interfaces of `target`.
    pub fn interfaces(&mut self, target: Option<&HostName>) -> Result<Vec<InterfaceStatus>, ClientError> {
        match self.call(target, Request::ListInterfaces)? {
            Reply::Interfaces(interfaces) => Ok(interfaces),
            _ => Err(self.unexpected(target, "a request for its interfaces")),
        }
    }

    /// The key of `target`, if its links are encrypted, and the daemons that may
    /// have links with it.
    pub fn peers(
        &mut self,
        target: Option<&HostName>,
    ) -> Result<(Option<PublicKey>, Vec<PeerKey>), ClientError> {
        match self.call(target, Request::ListPeers)? {
            Reply::Peers { own, peers } => Ok((own, peers)),
            _ => Err(self.unexpected(target, "a request for its peers")),
        }
    }

    /// The links of `target`.
    pub fn links(&mut self, target: Option<&HostName>) -> Result<Vec<LinkStatus>, ClientError> {
        match self.call(target, Request::ListLinks)? {
            Reply::Links(links) => Ok(links),
            _ => Err(self.unexpected(target, "a request for its links")),
        }
    }

    /// The rules of `target`.
    pub fn rules(&mut self, target: Option<&HostName>) -> Result<Vec<RuleStatus>, ClientError> {
        match self.call(target, Request::ListRules)? {
            Reply::Rules(rules) => Ok(rules),
            _ => Err(self.unexpected(target, "a request for its rules")),
        }
    }

    /// What is known of the paths between hosts; `target` must be the Proxy.
    pub fn paths(&mut self, target: Option<&HostName>) -> Result<Vec<PathStatus>, ClientError> {
        match self.call(target, Request::Paths)? {
            Reply::Paths(paths) => Ok(paths),
            _ => Err(self.unexpected(target, "a request for the paths")),
        }
    }

    /// The application's topology on `network` as `target`, which must be the Proxy, sees it.
    pub fn traffic_view(
        &mut self,
        target: Option<&HostName>,
        network: NetworkId,
    ) -> Result<TrafficView, ClientError> {
        match self.call(target, Request::TrafficView(network))? {
            Reply::TrafficView(view) => Ok(view),
            _ => Err(self.unexpected(target, "a request for the application's topology")),
        }
    }
}

enum Failure {
    Io(io::Error),
    Client(ClientError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
