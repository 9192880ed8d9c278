use super::*;

const MS: fn(u64) -> Timestamp = Timestamp::from_millis;

struct World {
    sessions: Sessions,
    config: [Session; 1],
    now: u64,
    /// When the session was purged.
    purged: Option<u64>,
}

impl World {
    fn new(change: impl FnOnce(&mut Session)) -> Self {
        let mut session =
            Session { fields: vec![("x-plan".into(), "/plan".into())], signed: false, ..Session::default() };
        change(&mut session);
        let config = [session];
        let mut sessions = Sessions::new(&config, Duration::from_millis(50), 4);
        sessions.seed(7);
        Self { sessions, config, now: 1_000_000, purged: None }
    }

    fn look(&mut self, id: &str) -> Look {
        let purged = self.purged;
        let is_purged = |at: Timestamp| purged.is_some_and(|purged| at.as_millis() <= purged);
        self.sessions.look_up((0, id), &self.config[0], &is_purged, true, MS(self.now))
    }

    #[track_caller]
    fn waits(&mut self, id: &str) -> u64 {
        match self.look(id) {
            Look::Wait { ticket, .. } => ticket,
            Look::Known(known) => panic!("{id} is known: {known:?}"),
        }
    }

    #[track_caller]
    fn knows(&mut self, id: &str) -> String {
        match self.look(id) {
            Look::Known(known) => told(Some(&known)),
            Look::Wait { .. } => panic!("{id} is not known"),
        }
    }

    #[track_caller]
    fn asked(&mut self) -> SessionRequest {
        self.sessions.next_question(&self.config, MS(self.now)).expect("there is a question")
    }

    fn asks_nothing(&mut self) {
        assert_eq!(self.sessions.next_question(&self.config, MS(self.now)), None);
    }

    fn answers(&mut self, request: &SessionRequest, plan: Option<&str>) -> Option<&'static str> {
        let answer = match plan {
            None => SessionAnswer::Absent,
            Some(plan) => {
                let record = format!(r#"{{"cookie":{{"originalMaxAge":90000}},"plan":"{plan}"}}"#);
                SessionAnswer::Record { lives: Some(60_000), kept: None, record: record.into_bytes() }
            }
        };
        let is_purged = self.purged.is_some_and(|purged| request.asked_at.as_millis() <= purged);
        self.sessions.answered(request, Some(&answer), &self.config[0], is_purged, MS(self.now))
    }

    fn fails(&mut self, request: &SessionRequest) {
        self.sessions.answered(request, None, &self.config[0], false, MS(self.now));
    }

    fn taken(&mut self, ticket: u64) -> String {
        told(self.sessions.take(ticket).as_ref())
    }
}

fn told(known: Option<&Known>) -> String {
    match known {
        None => "nothing yet".into(),
        Some(Known::Unknown) => "unknown".into(),
        Some(Known::Session(None)) => "none".into(),
        Some(Known::Session(Some(found))) => {
            String::from_utf8(found.values[0].clone().unwrap_or_default().into()).unwrap()
        }
    }
}

#[test]
fn those_who_wait_for_one_session_share_a_question_and_its_answer_is_gone_by_for_a_while() {
    let mut world = World::new(|_| {});
    let tickets = [world.waits("a"), world.waits("a"), world.waits("b")];
    let [a, b] = [world.asked(), world.asked()];
    world.asks_nothing();
    assert_eq!((a.key(), b.key()), ("sess:a".into(), "sess:b".into()));
    assert_eq!(world.answers(&b, None), Some("absent"));
    assert_eq!(world.answers(&a, Some("gold")), Some("found"));
    assert_eq!(world.answers(&a, Some("other")), None, "an answer counts once");
    assert_eq!(tickets.map(|ticket| world.taken(ticket)), ["gold", "gold", "none"]);
    assert_eq!(world.sessions.take_decided().len(), 3);
    assert_eq!(world.sessions.waiting(), 0);
    assert_eq!([world.knows("a"), world.knows("b")], ["gold", "none"]);
    world.now += 1_000;
    world.waits("b");
    assert_eq!(world.knows("a"), "gold");
    world.now += 4_000;
    world.waits("a");
}

#[test]
fn no_copy_outlives_its_session() {
    let mut world = World::new(|session| session.copy = Duration::from_secs(60));
    world.waits("a");
    let asked = world.asked();
    let record = br#"{"plan":"gold"}"#.to_vec();
    let answer = SessionAnswer::Record { lives: Some(300), kept: None, record };
    world.sessions.answered(&asked, Some(&answer), &world.config[0], false, MS(world.now));
    world.now += 299;
    assert_eq!(world.knows("a"), "gold");
    world.now += 1;
    world.waits("a");
}

#[test]
fn what_was_asked_for_before_a_purge_or_a_write_is_not_gone_by() {
    for purged in [true, false] {
        let mut world = World::new(|_| {});
        world.waits("a");
        let asked = world.asked();
        world.answers(&asked, Some("gold"));
        world.now += 10;
        let happens = |world: &mut World| match purged {
            true => world.purged = Some(world.now),
            false => {
                world.sessions.drop_copy(0, "a");
            }
        };
        happens(&mut world);
        let ticket = world.waits("a");
        world.now += 1;
        let asked = world.asked();
        world.now += 1;
        happens(&mut world);
        let other = world.waits("a");
        assert_eq!(world.answers(&asked, Some("gold")), Some("overtaken"));
        assert_eq!(world.taken(ticket), "nothing yet");
        world.now += 1;
        let again = world.asked();
        assert_eq!(world.answers(&again, None), Some("absent"));
        assert_eq!([world.taken(ticket), world.taken(other)], ["none", "none"]);
    }
}

#[test]
fn where_nobody_waits_what_is_overtaken_is_forgotten() {
    let mut world = World::new(|_| {});
    let ticket = world.waits("a");
    let asked = world.asked();
    world.sessions.leave(ticket);
    world.sessions.drop_copy(0, "a");
    world.answers(&asked, Some("gold"));
    world.asks_nothing();
    world.waits("a");
}

#[test]
fn without_redis_nothing_is_known_and_nobody_waits_for_ever() {
    let mut world = World::new(|_| {});
    let ticket = world.waits("a");
    let asked = world.asked();
    world.fails(&asked);
    assert_eq!(world.taken(ticket), "unknown");
    let ticket = world.waits("a");
    world.now += 50;
    world.sessions.look_again(MS(world.now));
    assert_eq!(world.taken(ticket), "unknown");
    assert_eq!(world.sessions.waiting(), 0);
    world.sessions.leave_redis_alone(MS(world.now + 100));
    assert_eq!(world.knows("b"), "unknown");
    world.now += 100;
    world.waits("b");
}

#[test]
fn so_many_questions_are_under_way_and_no_more() {
    let mut world = World::new(|_| {});
    for nth in 0..10 {
        world.waits(&nth.to_string());
    }
    let asked = world.asked();
    world.asked();
    world.asks_nothing();
    world.fails(&asked);
    world.asked();
    world.asks_nothing();
}

#[test]
fn who_uses_a_session_keeps_it_now_and_then() {
    let mut world = World::new(|session| session.touch = Some(Duration::from_secs(10)));
    world.waits("a");
    let first = world.asked();
    assert_eq!(first.keep, 0, "how long is not known yet");
    world.answers(&first, Some("gold"));
    let second = world.asked();
    assert_eq!(second.keep, 90);
    world.answers(&second, Some("gold"));
    world.asks_nothing();
    // A copy is made anew without it.
    world.now += 5_000;
    world.waits("a");
    let third = world.asked();
    assert_eq!(third.keep, 0);
    world.answers(&third, Some("gold"));
    world.asks_nothing();
    // Nobody waits for what only keeps it.
    world.now += 4_999;
    assert_eq!(world.knows("a"), "gold");
    world.asks_nothing();
    world.now += 1;
    world.waits("a");
    let fourth = world.asked();
    assert_eq!(fourth.keep, 90);
    world.answers(&fourth, None);
    world.asks_nothing();
}

#[test]
fn answers_to_questions_of_another_configuration_are_nobodys() {
    let mut world = World::new(|_| {});
    world.waits("a");
    let asked = world.asked();
    let mut other = World::new(|session| session.fields = vec![("x-admin".into(), "/plan".into())]);
    other.sessions.seed(8);
    let ticket = other.waits("a");
    other.asked();
    assert_eq!(other.answers(&asked, Some("gold")), None);
    assert_eq!(other.taken(ticket), "nothing yet");
}
