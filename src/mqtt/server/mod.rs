//! One MQTT connection as its server sees it, without I/O.
