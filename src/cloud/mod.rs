//! The cloud server (empty as yet).
