//! What comes back.

use std::ops::Range;

use thiserror::Error;

use crate::json::{Ambiguous, Member, elements, members, normal_number, whole_number};

/// Why an answer can not be taken apart or be put together with others. It can still be passed on as it is, where it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It is ambiguous, or no JSON.
    #[error("it is ambiguous: {0}")]
    Ambiguous(#[from] Ambiguous),
    /// It has not the shape of an answer with embeddings.
    #[error("it has no `data` with an `embedding` and an `index` each, or no `usage`")]
    Shape,
    /// It has not one embedding for each input.
    #[error("it has not one embedding for each input")]
    Count,
    /// The answers come from different models, whose vectors do not belong together.
    #[error("the answers come from different models")]
    Model,
}

/// An answer for each input of one: element `i` is for the input of weight `weights[i]`, wherever the provider has put it.
/// `usage` is shared out by weight, and what remains goes to the first.
///
/// # Errors
/// The answer is not one for these inputs.
pub fn split(answer: &[u8], weights: &[usize]) -> Result<Vec<Vec<u8>>, Unusable> {
    let answer = Answer::read(answer)?;
    if answer.items.len() != weights.len() {
        return Err(Unusable::Count);
    }
    if weights.len() == 1 {
        return Ok(vec![answer.body.to_vec()]);
    }
    let shares = shared(answer.tokens, weights);
    let items = answer.items.iter().zip(shares);
    Ok(items.map(|(item, tokens)| answer.with(&[(answer.body, item)], tokens)).collect())
}

/// One answer of several, in their order: `index` counts through, vectors keep their bytes, `usage` is the sum. What is
/// beside `data` and `usage` is as in the first.
///
/// # Errors
/// There is none, one is no answer, or they come from different models.
pub fn merge(answers: &[&[u8]]) -> Result<Vec<u8>, Unusable> {
    let answers: Result<Vec<Answer<'_>>, Unusable> = answers.iter().map(|body| Answer::read(body)).collect();
    let answers = answers?;
    let first = answers.first().ok_or(Unusable::Count)?;
    if answers.iter().any(|answer| answer.model() != first.model()) {
        return Err(Unusable::Model);
    }
    let tokens = answers.iter().fold(Tokens::default(), |sum, answer| sum.plus(answer.tokens));
    let items: Vec<(&[u8], &Item)> =
        answers.iter().flat_map(|answer| answer.items.iter().map(|item| (answer.body, item))).collect();
    Ok(first.with(&items, tokens))
}

/// An answer by its places.
struct Answer<'a> {
    body: &'a [u8],
    data: Range<usize>,
    usage: Range<usize>,
    model: Option<Range<usize>>,
    /// In the order of `index`.
    items: Vec<Item>,
    tokens: Tokens,
}

/// An element of `data`.
struct Item {
    whole: Range<usize>,
    /// The value of its `index`.
    index: Range<usize>,
}

#[derive(Clone, Copy, Default)]
struct Tokens {
    prompt: u64,
    total: u64,
}

impl Tokens {
    fn plus(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_add(other.prompt),
            total: self.total.saturating_add(other.total),
        }
    }
}

impl<'a> Answer<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Unusable> {
        let top = members(body, MAX_MEMBERS)?.ok_or(Unusable::Shape)?;
        let place = |name: &[u8]| find(&top, name).map(|member| member.value.clone());
        if place(b"error").is_some_and(|error| body.get(error) != Some(b"null")) {
            return Err(Unusable::Shape);
        }
        let data = place(b"data").ok_or(Unusable::Shape)?;
        let usage = place(b"usage").ok_or(Unusable::Shape)?;
        let array = body.get(data.clone()).unwrap_or_default();
        let elements = elements(array, MAX_ITEMS)?.ok_or(Unusable::Shape)?;
        let count = elements.len();
        let mut items: Vec<Option<Item>> = std::iter::repeat_with(|| None).take(count).collect();
        for element in elements {
            let whole = shifted(&element, data.start);
            let inner =
                members(body.get(whole.clone()).unwrap_or_default(), MAX_MEMBERS)?.ok_or(Unusable::Shape)?;
            find(&inner, b"embedding").ok_or(Unusable::Shape)?;
            let index = shifted(&find(&inner, b"index").ok_or(Unusable::Shape)?.value, whole.start);
            let number = number(body, &index).and_then(|index| usize::try_from(index).ok());
            // Each index once, whatever the order: else somebody would get another's vector.
            match number.and_then(|index| items.get_mut(index)) {
                Some(place @ None) => *place = Some(Item { whole, index }),
                _ => return Err(Unusable::Count),
            }
        }
        let counts =
            members(body.get(usage.clone()).unwrap_or_default(), MAX_MEMBERS)?.ok_or(Unusable::Shape)?;
        let count_of = |name: &[u8]| {
            find(&counts, name).and_then(|member| number(body, &shifted(&member.value, usage.start)))
        };
        let prompt =
            count_of(b"prompt_tokens").or_else(|| count_of(b"total_tokens")).ok_or(Unusable::Shape)?;
        let tokens = Tokens { prompt, total: count_of(b"total_tokens").unwrap_or(prompt) };
        let items = items.into_iter().collect::<Option<Vec<Item>>>().ok_or(Unusable::Count)?;
        Ok(Self { body, data, usage, model: place(b"model"), items, tokens })
    }

    fn model(&self) -> Option<&'a [u8]> {
        self.model.as_ref().and_then(|place| self.body.get(place.clone()))
    }

    /// This answer with other items, each a part of the body beside it, and another usage.
    fn with(&self, items: &[(&[u8], &Item)], tokens: Tokens) -> Vec<u8> {
        let mut data = Vec::with_capacity(
            items
                .iter()
                .fold(2, |sum: usize, (_, item)| sum.saturating_add(item.whole.len()).saturating_add(8)),
        );
        let mut before = b'[';
        for (index, (body, item)) in items.iter().enumerate() {
            data.push(before);
            data.extend_from_slice(body.get(item.whole.start..item.index.start).unwrap_or_default());
            data.extend_from_slice(index.to_string().as_bytes());
            data.extend_from_slice(body.get(item.index.end..item.whole.end).unwrap_or_default());
            before = b',';
        }
        data.push(b']');
        let usage = format!("{{\"prompt_tokens\":{},\"total_tokens\":{}}}", tokens.prompt, tokens.total);
        let mut changes = [(&self.data, &*data), (&self.usage, usage.as_bytes())];
        changes.sort_unstable_by_key(|(place, _)| place.start);
        let mut out = Vec::with_capacity(data.len().saturating_add(256));
        let mut from = 0;
        for (place, with) in changes {
            out.extend_from_slice(self.body.get(from..place.start).unwrap_or_default());
            out.extend_from_slice(with);
            from = place.end;
        }
        out.extend_from_slice(self.body.get(from..).unwrap_or_default());
        out
    }
}

/// Tokens by weight; what remains goes to the first.
fn shared(tokens: Tokens, weights: &[usize]) -> Vec<Tokens> {
    let prompt = shares(tokens.prompt, weights);
    let total = shares(tokens.total, weights);
    prompt.into_iter().zip(total).map(|(prompt, total)| Tokens { prompt, total }).collect()
}

fn shares(whole: u64, weights: &[usize]) -> Vec<u64> {
    let wide = |weight: &usize| u64::try_from(*weight).map_or(u128::from(u64::MAX), u128::from);
    let sum = weights.iter().map(wide).fold(0_u128, u128::saturating_add).max(1);
    let part =
        |weight: &usize| u64::try_from(u128::from(whole).saturating_mul(wide(weight)) / sum).unwrap_or(0);
    let mut shares: Vec<u64> = weights.iter().map(part).collect();
    let rest = shares.iter().fold(whole, |rest, share| rest.saturating_sub(*share));
    if let Some(first) = shares.first_mut() {
        *first = first.saturating_add(rest);
    }
    shares
}

fn find<'a>(members: &'a [Member], name: &[u8]) -> Option<&'a Member> {
    members.iter().find(|member| member.name == name)
}

fn shifted(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start.saturating_add(by)..range.end.saturating_add(by)
}

/// The whole number that stands at a place.
fn number(body: &[u8], place: &Range<usize>) -> Option<u64> {
    let lexical = body.get(place.clone())?;
    let mut normal = Vec::new();
    let digits = lexical.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    normal_number(lexical, &mut normal).ok().filter(|()| digits)?;
    whole_number(&normal)
}

/// More than any answer has at one level.
const MAX_MEMBERS: usize = 256;
/// More inputs than any provider takes at once.
const MAX_ITEMS: usize = 65_536;
