//! The sessions of this worker: what a request's cookie names, and what becomes of what is known of it.

use super::{Cache, Moment};
use crate::config::ConfigError;
use crate::limits::NoAnswer;
use crate::remote::asked::Told;
use crate::request::Request;
use crate::sessions::cookie::{self, Shown};
use crate::sessions::question::{SessionAnswer, SessionRequest};
use crate::sessions::signature::{LONGEST, SHORTEST, Secrets};
use crate::sessions::{Known, Look, tag_of};

impl Cache {
    /// Takes the secrets of sessions from the environment, by a member of the configuration and the name of a variable.
    ///
    /// # Errors
    /// One is not there, or is none. The error does not have it.
    pub fn read_session_secrets(
        &mut self,
        variable: &dyn Fn(&str, &str) -> Result<String, ConfigError>,
    ) -> Result<(), ConfigError> {
        let policy = std::rc::Rc::clone(&self.policy);
        for (at, session) in policy.sessions.iter().enumerate().filter(|(_, session)| session.signed) {
            let mut secrets = Vec::new();
            for (nth, name) in session.secret_env.iter().enumerate() {
                let member = format!("sessions[{at}].secret_env[{nth}]");
                let secret = variable(&member, name)?;
                if let Err(why) = Secrets::new([secret.as_str()].into_iter()) {
                    return Err(ConfigError {
                        path: member,
                        found: format!("{name:?}, whose value is {why}"),
                        allowed: format!("a secret of {SHORTEST} to {LONGEST} bytes"),
                    });
                }
                secrets.push(secret);
            }
            if let Ok(secrets) = Secrets::new(secrets.iter().map(String::as_str)) {
                self.sessions.set_secrets(at, secrets);
            }
        }
        Ok(())
    }

    /// What a request shows of the sessions of a kind.
    pub(crate) fn shown_session<'r>(&self, kind: usize, request: &Request<'r>) -> Shown<'r> {
        let Some(session) = self.policy.sessions.get(kind).filter(|_| request.cookie) else {
            return Shown::Nothing;
        };
        cookie::shown(request.fields, &session.cookie, self.sessions.secrets(kind))
    }

    /// What is known of a session, or whom to wait for.
    pub(crate) fn look_up_session(
        &mut self,
        kind: usize,
        id: &str,
        may_wait: bool,
        moment: &Moment<'_>,
    ) -> Look {
        let Some(session) = self.policy.sessions.get(kind) else { return Look::Known(Known::Unknown) };
        let (purges, tag) = (&self.purges, tag_of(id));
        let is_purged = |asked_at| purges.covers_tag(tag, asked_at);
        let look = self.sessions.look_up((kind, id), session, &is_purged, may_wait, moment.now);
        match &look {
            Look::Known(Known::Session(_)) => self.stats.count("sessions", "copy"),
            Look::Known(Known::Unknown) => self.stats.count("sessions", "not-asked"),
            Look::Wait { .. } => self.stats.count("sessions", "waited"),
        }
        look
    }

    /// The same without a question; `None` if it is not known.
    pub(crate) fn peek_session(&mut self, kind: usize, id: &str, moment: &Moment<'_>) -> Option<bool> {
        let (is_there, asked_at) = self.sessions.peek((kind, id), moment.now)?;
        (!self.purges.covers_tag(tag_of(id), asked_at)).then_some(is_there)
    }

    /// Redis has answered, or has not.
    pub(super) fn session_answered(
        &mut self,
        request: &SessionRequest,
        told: Result<Told, NoAnswer>,
        moment: &Moment<'_>,
    ) {
        let answer = match told {
            Ok(Told::Session(answer)) => Some(answer),
            _ => None,
        };
        let Some(session) = self.policy.sessions.get(request.kind) else { return };
        let is_purged = self.purges.covers_tag(tag_of(&request.id), request.asked_at);
        let word = self.sessions.answered(request, answer.as_ref(), session, is_purged, moment.now);
        let Some(word) = word else { return };
        self.stats.count("sessions", word);
        match answer {
            Some(SessionAnswer::Record { kept: Some(true), .. }) => self.stats.count("sessions", "kept"),
            Some(SessionAnswer::Record { kept: Some(false), .. }) => self.stats.count("sessions", "not-kept"),
            _ => {}
        }
    }

    /// What has come of a ticket; `None`: nothing yet, or it is not known here.
    pub(crate) fn take_session(&mut self, ticket: u64) -> Option<Known> {
        self.sessions.take(ticket)
    }

    /// A request that waited is gone.
    pub(crate) fn leave_session(&mut self, ticket: u64) {
        self.sessions.leave(ticket);
    }

    /// A session may have been changed: what was asked for until now is not gone by.
    pub(crate) fn drop_session(&mut self, kind: usize, id: &str) {
        if self.sessions.drop_copy(kind, id) {
            self.stats.count("sessions", "dropped");
        }
    }

    /// Sessions of a kind that this worker remembers, and their bytes.
    pub fn session_usage(&self, kind: usize) -> (usize, usize) {
        self.sessions.usage(kind)
    }
}
