//! What the owner of a session decides: who logs in and which topics are whose.

/// Decides for one session. Asked again at each publish, subscription and delivery, so that a right
/// that was taken away is gone at once.
pub trait Policy {
    /// Whether this client may log in.
    ///
    /// # Errors
    ///
    /// The reason that the client is told; the session then ends.
    ///
    /// # Security
    ///
    /// The secrets in `request` are to be compared in constant time.
    fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<(), Refusal>;

    /// A client id for an MQTT client that brought none: unique within the server.
    fn assign_client_id(&mut self) -> String;

    /// Whether the client may publish to this topic.
    fn may_publish(&self, topic: &str) -> bool;

    /// Whether the client may receive what is published to this topic.
    fn may_subscribe(&self, topic: &str) -> bool;
}

/// What a CONNECT says about its sender.
#[derive(Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// The client's name for itself; empty if it leaves the choice to the server.
    pub client_id: &'a str,
    /// The user name, if there is one.
    pub user: Option<&'a str>,
    /// The password, if there is one.
    pub password: Option<&'a [u8]>,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// User name or password are wrong, missing or superfluous.
    BadCredentials,
    /// The client is known, but asks for what SecT does not have: a will, an authentication method.
    NotAuthorized,
    /// A 3.1.1 client without a name asks for a session that outlives its connection.
    ClientId,
    /// There is no room for one more session.
    Busy,
}
