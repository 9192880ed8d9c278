//! The request: its rule, what the firewall makes of it, its credentials and its wishes.

use super::{Explanation, Fact, Part, show};
use crate::admission::{asked, matched, refusal, view_of};
use crate::firewall;
use crate::policy::{Cookies, Fit, Policy, RequestDirectives as Obey, Rule};
use crate::request::Request;

use super::times::seconds;

/// Notes everything that the head of a request decides.
pub(super) fn note(
    request: &Request<'_>,
    rule_index: usize,
    rule: &Rule,
    policy: &Policy,
    explanation: &mut Explanation,
) {
    note_rule(request, rule_index, rule, policy, explanation);
    let view = view_of(request, rule);
    let (text, word) = match refusal(request, rule) {
        None => ("nothing to object to".into(), None),
        Some(vector) => {
            let field = firewall::culprit(vector, &view);
            let cause =
                field.map_or_else(|| show(request.target), |field| format!("the field {}", show(field)));
            (format!("{}: {cause}", vector.as_str()), Some(vector.as_str()))
        }
    };
    let note = explanation.note(Part::Request, "firewall", text);
    if let Some(word) = word {
        note.word("word", word);
    }
    note_credentials(request, rule, explanation);
    note_directives(request, rule, explanation);
}

fn note_rule(
    request: &Request<'_>,
    rule_index: usize,
    rule: &Rule,
    policy: &Policy,
    explanation: &mut Explanation,
) {
    let (mut passed_over, mut fits, mut fitting) = (Vec::new(), "no rule matches".to_owned(), false);
    matched(request, |host, path, method| {
        for (nth, (tried, fit)) in policy.tries(host, path, method).enumerate() {
            match fit {
                Err(list) => {
                    passed_over.push(format!("rules[{nth}] \"{}\" (none of its {list} fits)", tried.name))
                }
                Ok(fit) => (fits, fitting) = (places(nth, fit), true),
            }
        }
    });
    let separator = match (passed_over.is_empty(), fitting) {
        (true, _) => "",
        (false, true) => "; not ",
        (false, false) => ": not ",
    };
    let mode = match (rule.bypass, rule.shadow) {
        (true, _) => "; it bypasses the cache",
        (false, true) => "; it only watches what would be served (shadow)",
        (false, false) => "",
    };
    let text = format!("\"{}\": {fits}{separator}{}{mode}", rule.name, passed_over.join(", "));
    let note = explanation.note(Part::Request, "rule", text).flag("bypass", rule.bypass);
    note.flag("shadow", rule.shadow);
    note.with("name", Fact::Text((*rule.name).into())).number("index", rule_index);
    note.with("passed_over", Fact::Texts(passed_over));
}

/// Where in the configuration the patterns that fit are.
fn places(nth: usize, fit: Fit) -> String {
    let lists = [("hosts", fit.hosts), ("paths", fit.paths), ("methods", fit.methods)];
    let fitting: Vec<String> =
        lists.iter().filter_map(|(list, at)| Some(format!("match.{list}[{}]", (*at)?))).collect();
    match fitting.is_empty() {
        true => format!("rules[{nth}], which is for all requests"),
        false => format!("rules[{nth}] by {}", fitting.join(", ")),
    }
}

fn note_credentials(request: &Request<'_>, rule: &Rule, explanation: &mut Explanation) {
    if request.authorization {
        let text = match asked(request, rule).authorization {
            true => {
                "there, and not in the key: only a response that says public, s-maxage or must-revalidate is stored or \
                     given to it (RFC 9111 §3.5)"
            }
            false => "there, and in the key: a response for each (key.headers)",
        };
        explanation.note(Part::Request, "authorization", text.into());
    }
    if request.credentials {
        let text = "there, by credential_headers: treated as Authorization, so only a response that says public, s-maxage or \
                    must-revalidate is stored or given to it";
        explanation.note(Part::Request, "credentials", text.into());
    }
    if request.cookie {
        let text = match rule.cookies {
            Cookies::Isolate => {
                "there, and isolates: responses without public or s-maxage are kept for each Cookie apart (cookies: \"isolate\")"
            }
            Cookies::Ignore => "there, and ignored save what the key names (cookies: \"ignore\")",
            Cookies::Bypass => "there, so the cache stays out of it (cookies: \"bypass\")",
        };
        explanation.note(Part::Request, "cookie", text.into());
    }
}

fn note_directives(request: &Request<'_>, rule: &Rule, explanation: &mut Explanation) {
    let wishes = request.directives;
    let mut said = Vec::new();
    let flags = [
        (wishes.no_cache, "no-cache"),
        (wishes.no_store, "no-store"),
        (wishes.only_if_cached, "only-if-cached"),
        (wishes.no_transform, "no-transform"),
    ];
    said.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
    let limits =
        [(wishes.max_age, "max-age"), (wishes.min_fresh, "min-fresh"), (wishes.max_stale, "max-stale")];
    said.extend(limits.iter().filter_map(|(limit, name)| Some(format!("{name} {}", seconds((*limit)?)))));
    if said.is_empty() {
        return;
    }
    let honoured = rule.request_directives == Obey::Honour;
    let how = if honoured { "honoured" } else { "ignored (request_directives: \"ignore\")" };
    let text = format!("{}: {how}", said.join(", "));
    explanation
        .note(Part::Request, "directives", text)
        .flag("honoured", honoured)
        .with("said", Fact::Texts(said));
}
