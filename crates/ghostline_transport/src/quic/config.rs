//! The configurations of quinn-proto and rustls: every limit set by us, none left to a default.
//! Made from a driver's settings; used for each endpoint and each attempt to connect.

use core::time::Duration;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, EndpointConfig, MtuDiscoveryConfig, NoneTokenLog, NoneTokenStore, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::clock::SharedTime;
use super::congestion::NoCongestionControl;
use super::connection_id::{SecretIds, initial_ids};
use super::crypto::{ALPN, provider};
use super::identity::Identity;
use super::trust::{Expectation, Verdict, Verifier};
use crate::limits;
use crate::settings::DriverSettings;

/// The name that each certificate of ours carries, and clients ask for that recognise a server by its hash.
pub(super) const SERVER_NAME: &str = "ghostline";

/// Where certificates are compared nothing depends on the date, and there are no tickets.
#[derive(Debug)]
struct NoDate;

impl TimeProvider for NoDate {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// The server's side of TLS.
pub(super) fn server_tls(identity: &Identity) -> Result<rustls::ServerConfig, rustls::Error> {
    let (chain, key) = identity.parts();
    let mut config = rustls::ServerConfig::builder_with_details(provider(), Arc::new(NoDate))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No session is resumed: tickets would make the packets of equal runs differ.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The client's side of TLS, and where to read whether the server was turned down.
fn client_tls(expectation: &Expectation) -> Result<(rustls::ClientConfig, Verdict), rustls::Error> {
    let provider = provider();
    let (verifier, verdict) = Verifier::new(expectation, &provider)?;
    let time: Arc<dyn TimeProvider> = match expectation {
        Expectation::VouchedFor { .. } => Arc::new(DefaultTimeProvider),
        Expectation::Any | Expectation::OneOf(_) => Arc::new(NoDate),
    };
    let mut config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok((config, verdict))
}

/// What both sides of a connection have in common.
fn transport(settings: &DriverSettings, client_streams: u32) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(limits::MAX_MTU_BYTES)
        .interval(Duration::from_millis(limits::MTU_INTERVAL_MS))
        .minimum_change(limits::MTU_PRECISION_BYTES)
        .black_hole_cooldown(Duration::from_millis(limits::MTU_BLACK_HOLE_MS));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(client_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        // QUIC would drop a silent connection without a word: the port ends it, and says so in case the way there is open.
        .max_idle_timeout(None)
        .keep_alive_interval(Some(Duration::from_millis(settings.heartbeat_timeout_ms.into())))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(limits::STREAM_RECEIVE_WINDOW_BYTES))
        .send_window(limits::STREAM_SEND_WINDOW_BYTES)
        .send_fairness(false)
        .initial_rtt(Duration::from_millis(limits::INITIAL_RTT_MS))
        .initial_mtu(limits::MIN_MTU_BYTES)
        .min_mtu(limits::MIN_MTU_BYTES)
        .mtu_discovery_config(Some(mtu))
        .pad_to_mtu(false)
        .packet_threshold(limits::LOSS_PACKET_THRESHOLD)
        .time_threshold(limits::LOSS_TIME_THRESHOLD)
        .persistent_congestion_threshold(limits::PERSISTENT_LOSS_THRESHOLD)
        // An extension, with which a peer could ask for acknowledgements at its own pace.
        .ack_frequency_config(None)
        .enable_segmentation_offload(true)
        .crypto_buffer_size(limits::CRYPTO_BUFFER_BYTES)
        .datagram_receive_buffer_size(Some(limits::DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(limits::DATAGRAM_SEND_BYTES)
        // The spin bit shows round trips to the path, at random: neither is wanted.
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(NoCongestionControl));
    config
}

/// What all connections of one socket have in common.
pub(super) fn endpoint(secret: [u8; 32], seed: [u8; 32]) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config
        .cid_generator(move || Box::new(SecretIds::new(secret, b"local")))
        .supported_versions(vec![1])
        .grease_quic_bit(true)
        .min_reset_interval(Duration::from_millis(limits::RESET_INTERVAL_MS))
        .rng_seed(Some(seed));
    // In range by its name; the default is the same value.
    let _in_range = config.max_udp_payload_size(limits::MAX_UDP_PAYLOAD_BYTES);
    config
}

/// How clients are accepted.
pub(super) fn server(
    identity: &Identity,
    settings: &DriverSettings,
    time: SharedTime,
) -> Result<ServerConfig, rustls::Error> {
    let tls = QuicServerConfig::try_from(server_tls(identity)?);
    let tls = tls.map_err(|_missing| rustls::Error::General("no cipher suite for the first packets".into()))?;
    let mut tokens = ValidationTokenConfig::default();
    // Proofs of address for a later connection would be resumption by another name.
    tokens.sent(0).log(Arc::new(NoneTokenLog));
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport(settings, limits::CLIENT_STREAMS)))
        .validation_token_config(tokens)
        .retry_token_lifetime(Duration::from_millis(limits::RETRY_LIFETIME_MS))
        .migration(true)
        .preferred_address_v4(None)
        .preferred_address_v6(None)
        .max_incoming(limits::MAX_INCOMING)
        .incoming_buffer_size(limits::INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(limits::INCOMING_BUFFER_TOTAL_BYTES)
        .time_source(Arc::new(time));
    Ok(config)
}

/// How a server is connected to.
#[derive(Clone)]
pub(super) struct ClientConfigs {
    transport: Arc<TransportConfig>,
    initial_ids: Arc<dyn Fn() -> quinn_proto::ConnectionId + Send + Sync>,
}

impl ClientConfigs {
    pub(super) fn new(settings: &DriverSettings, secret: [u8; 32]) -> Self {
        Self { transport: Arc::new(transport(settings, 0)), initial_ids: Arc::new(initial_ids(secret)) }
    }

    /// For one attempt, and where to read whether the server was turned down.
    pub(super) fn attempt(&self, expectation: &Expectation) -> Result<(ClientConfig, Verdict), rustls::Error> {
        let (tls, verdict) = client_tls(expectation)?;
        let tls = QuicClientConfig::try_from(tls);
        let tls = tls.map_err(|_missing| rustls::Error::General("no cipher suite for the first packets".into()))?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config
            .transport_config(Arc::clone(&self.transport))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::clone(&self.initial_ids));
        Ok((config, verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What quinn-proto can be told of a connection, by its own listing. A name that is new there must be decided on in
    /// [`transport`], and then added here.
    #[test]
    fn every_setting_of_a_connection_is_decided_on() {
        let listed = format!("{:?}", transport(&DriverSettings::default(), limits::CLIENT_STREAMS));
        let decided = [
            ("max_concurrent_bidi_streams", "1"),
            ("max_concurrent_uni_streams", "0"),
            ("max_idle_timeout", "None"),
            ("stream_receive_window", "524288"),
            ("receive_window", "524288"),
            ("send_window", "524288"),
            ("send_fairness", "false"),
            ("packet_threshold", "3"),
            ("time_threshold", "1.125"),
            ("initial_rtt", "100ms"),
            ("initial_mtu", "1200"),
            ("min_mtu", "1200"),
            (
                "mtu_discovery_config",
                "Some(MtuDiscoveryConfig { interval: 600s, upper_bound: 1452, minimum_change: 20, black_hole_cooldown: 60s })",
            ),
            ("pad_to_mtu", "false"),
            ("ack_frequency_config", "None"),
            ("persistent_congestion_threshold", "3"),
            ("keep_alive_interval", "Some(500ms)"),
            ("crypto_buffer_size", "8192"),
            ("allow_spin", "false"),
            ("datagram_receive_buffer_size", "Some(262144)"),
            ("datagram_send_buffer_size", "65536"),
            ("enable_segmentation_offload", "true"),
        ];
        let fields: Vec<String> = decided.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(listed, format!("TransportConfig {{ {}, .. }}", fields.join(", ")));
    }
}
