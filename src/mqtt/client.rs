//! The MQTT client link of a controller.
