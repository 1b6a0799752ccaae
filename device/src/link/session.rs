//! One MQTT connection without its I/O: which bytes go out, what came in, what is in flight, and when something is overdue.
//!
//! A session lives as long as its connection. What it did not see acknowledged is the outbox's to send again, on the next connection and
//! under a packet identifier of that connection; so nothing here is kept from one to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Version;
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, SubEntry, SubOpts, v3_1_1};
use mqtt_protocol_core::mqtt::prelude::*;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use tokio::time::Instant;

use crate::error::DeviceError;

/// The broker answers a connect, a subscribe or a ping within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The broker took the connection.
    Connected,
    /// It granted the subscription.
    Subscribed,
    /// It acknowledged the message at this place of the queue.
    Acknowledged(i64),
    /// It delivered a message. It is acknowledged by [`Session::acknowledge`] when what it asks for is on the disk.
    Delivered {
        /// For the acknowledgement; nothing for a message that wants none.
        packet: Option<u16>,
        /// The message.
        payload: Vec<u8>,
    },
}

/// One connection's protocol.
pub struct Session {
    protocol: mqtt::Connection<mqtt::role::Client>,
    out: Vec<u8>,
    in_flight: BTreeMap<u16, (i64, Instant)>,
    ack_timeout: Duration,
    /// When the broker's answer to a connect, subscribe or ping is overdue.
    answer_by: Option<Instant>,
    ping_at: Option<Instant>,
    closing: bool,
}

fn protocol_error(e: MqttError) -> DeviceError {
    DeviceError::Broker(format!("MQTT: {e}"))
}

impl Session {
    /// Starts a session: the connect request stands in the bytes to send.
    ///
    /// # Errors
    /// [`DeviceError::Broker`] if the client id cannot be sent.
    pub fn open(client: &str, keep_alive: u16, ack_timeout: Duration, now: Instant) -> Result<Self, DeviceError> {
        let mut session = Self {
            protocol: mqtt::Connection::new(Version::V3_1_1),
            out: Vec::new(),
            in_flight: BTreeMap::new(),
            ack_timeout,
            answer_by: Some(now + ANSWER_WITHIN),
            ping_at: None,
            closing: false,
        };
        // The broker keeps the subscription and the commands that come while the device is away.
        let connect = v3_1_1::Connect::builder()
            .client_id(client)
            .and_then(|connect| connect.clean_session(false).keep_alive(keep_alive).build())
            .map_err(protocol_error)?;
        session.send(connect.into(), now)?;
        Ok(session)
    }

    /// Asks for the messages of a topic, with QoS 1.
    ///
    /// # Errors
    /// [`DeviceError::Broker`].
    pub fn subscribe(&mut self, topic: &str, now: Instant) -> Result<(), DeviceError> {
        let packet = self.protocol.acquire_packet_id().map_err(protocol_error)?;
        let entry = SubEntry::new(topic, SubOpts::new().set_qos(Qos::AtLeastOnce)).map_err(protocol_error)?;
        let subscribe = v3_1_1::Subscribe::builder().packet_id(packet).entries(vec![entry]).build();
        self.answer_by = Some(now + ANSWER_WITHIN);
        self.send(subscribe.map_err(protocol_error)?.into(), now)
    }

    /// Publishes the message at a place of the queue with QoS 1.
    ///
    /// # Errors
    /// [`DeviceError::Broker`].
    pub fn publish(&mut self, place: i64, topic: &str, payload: &[u8], now: Instant) -> Result<(), DeviceError> {
        let packet = self.protocol.acquire_packet_id().map_err(protocol_error)?;
        let publish = v3_1_1::Publish::builder()
            .topic_name(topic)
            .and_then(|publish| publish.qos(Qos::AtLeastOnce).packet_id(packet).payload(payload).build())
            .map_err(protocol_error)?;
        self.in_flight.insert(packet, (place, now));
        self.send(publish.into(), now)
    }

    /// Acknowledges a delivered message.
    ///
    /// # Errors
    /// [`DeviceError::Broker`].
    pub fn acknowledge(&mut self, packet: u16, now: Instant) -> Result<(), DeviceError> {
        let puback = v3_1_1::Puback::builder().packet_id(packet).build().map_err(protocol_error)?;
        self.send(puback.into(), now)
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// [`DeviceError::Broker`].
    pub fn close(&mut self, now: Instant) -> Result<(), DeviceError> {
        let disconnect = v3_1_1::Disconnect::builder().build().map_err(protocol_error)?;
        self.closing = true;
        self.send(disconnect.into(), now)
    }

    /// The bytes to send. Whoever sends them takes them out.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// How many publishes wait for their acknowledgement.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes what came from the broker.
    ///
    /// # Errors
    /// [`DeviceError::Broker`] if the broker refused something or broke the protocol.
    pub fn received(&mut self, mut bytes: &[u8], now: Instant) -> Result<Vec<Arrival>, DeviceError> {
        let mut arrivals = Vec::new();
        while !bytes.is_empty() {
            let mut cursor = Cursor::new(bytes);
            let events = self.protocol.recv(&mut cursor);
            let taken = usize::try_from(cursor.position()).unwrap_or(bytes.len());
            self.handle(events, &mut arrivals, now)?;
            if taken == 0 {
                break;
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(arrivals)
    }

    /// When [`Session::overdue`] has to be asked next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.in_flight.values().map(|(_, since)| *since + self.ack_timeout).min();
        [oldest, self.answer_by, self.ping_at].into_iter().flatten().min()
    }

    /// Sends a ping when it is time to.
    ///
    /// # Errors
    /// [`DeviceError::Broker`] if the broker has been silent for too long.
    pub fn overdue(&mut self, now: Instant) -> Result<(), DeviceError> {
        if self.answer_by.is_some_and(|by| now >= by) {
            return Err(DeviceError::Broker("the broker does not answer".into()));
        }
        if self.in_flight.values().any(|(_, since)| now >= *since + self.ack_timeout) {
            return Err(DeviceError::Broker("the broker does not acknowledge".into()));
        }
        if self.ping_at.is_some_and(|at| now >= at) {
            self.ping_at = None;
            self.answer_by = Some(now + ANSWER_WITHIN);
            let events = self.protocol.notify_timer_fired(TimerKind::PingreqSend);
            self.handle(events, &mut Vec::new(), now)?;
        }
        Ok(())
    }

    fn send(&mut self, packet: Packet, now: Instant) -> Result<(), DeviceError> {
        let events = self.protocol.send(packet);
        self.handle(events, &mut Vec::new(), now)
    }

    fn handle(&mut self, events: Vec<Event>, arrivals: &mut Vec<Arrival>, now: Instant) -> Result<(), DeviceError> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => self.out.extend(packet.to_continuous_buffer()),
                Event::RequestTimerReset { kind: TimerKind::PingreqSend, duration_ms } => {
                    self.ping_at = Some(now + Duration::from_millis(duration_ms));
                }
                Event::RequestTimerCancel(TimerKind::PingreqSend) => self.ping_at = None,
                Event::NotifyPacketReceived(packet) => self.arrived(packet, arrivals)?,
                Event::NotifyError(e) => return Err(protocol_error(e)),
                // Its answer to a goodbye.
                Event::RequestClose if self.closing => {}
                Event::RequestClose => return Err(DeviceError::Broker("the protocol asks to close".into())),
                Event::RequestTimerReset { .. } | Event::RequestTimerCancel(_) | Event::NotifyPacketIdReleased(_) => {}
            }
        }
        Ok(())
    }

    fn arrived(&mut self, packet: Packet, arrivals: &mut Vec<Arrival>) -> Result<(), DeviceError> {
        match packet {
            Packet::V3_1_1Connack(connack) => {
                self.answer_by = None;
                match connack.return_code() {
                    ConnectReturnCode::Accepted => arrivals.push(Arrival::Connected),
                    code => return Err(DeviceError::Broker(format!("the broker refused the connection: {code}"))),
                }
            }
            Packet::V3_1_1Suback(suback) => {
                self.answer_by = None;
                if suback.return_codes().iter().any(mqtt::result_code::SubackReturnCode::is_failure) {
                    return Err(DeviceError::Broker("the broker refused the subscription".into()));
                }
                arrivals.push(Arrival::Subscribed);
            }
            Packet::V3_1_1Puback(puback) => {
                if let Some((place, _)) = self.in_flight.remove(&puback.packet_id()) {
                    arrivals.push(Arrival::Acknowledged(place));
                }
            }
            Packet::V3_1_1Publish(publish) => {
                let payload = publish.payload().as_slice().to_vec();
                arrivals.push(Arrival::Delivered { packet: publish.packet_id(), payload });
            }
            Packet::V3_1_1Pingresp(_) => self.answer_by = None,
            _ => {}
        }
        Ok(())
    }
}
