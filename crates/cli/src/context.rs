//! The settings, and a connection to each server once a command asks for it.

use std::path::Path;

use anyhow::Result;
use handover_identity::Identity;
use handover_plan::KeyType;
use handover_postgres::Database;
use handover_queue::Queues;
use handover_settings::{Server, Settings};
use handover_tracking::Tracking;
use handover_worker::connections;

use crate::exit::{Exit, stop};
use crate::output::Output;

/// What every command has.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) output: Output,
    pub(crate) yes: bool,
}

impl Context {
    pub(crate) fn new(config: Option<&Path>, output: Output, yes: bool) -> Result<Self> {
        Ok(Self { settings: Settings::load(config)?, output, yes })
    }

    /// How one of the databases is reached.
    pub(crate) fn database(&self, server: Server) -> Result<Database> {
        connections::database(&self.settings, server)
    }

    pub(crate) fn tracking(&self) -> Result<Tracking> {
        Ok(Tracking::new(self.database(Server::Destination)?.pool(2)))
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        connections::identity(&self.settings, 2)
    }

    pub(crate) async fn queues(&self) -> Result<Queues> {
        Ok(Queues::connect(&connections::redis(&self.settings)?).await?)
    }

    /// The installation's key type, by which every user key on a command line or in a file is read.
    pub(crate) async fn key_type(&self, tracking: &Tracking) -> Result<KeyType> {
        let Some(name) = tracking.key_type().await? else {
            return Err(stop(Exit::NotFound, "no migration is registered yet: run `handover init`"));
        };
        KeyType::ALL
            .into_iter()
            .find(|key| key.sql() == name)
            .ok_or_else(|| stop(Exit::Failed, format!("this program does not know the key type `{name}`")))
    }
}
