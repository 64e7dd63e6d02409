//! The local server: MQTT over TLS-PSK (SecT STEP 1, 7, 12, 13).
