//! What comes back.

use std::ops::Range;

use thiserror::Error;

use crate::json::{Ambiguous, Kind, Node, normal_number, outline, whole_number};

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
    together(answers, false)
}

fn together(answers: &[&[u8]], one_each: bool) -> Result<Vec<u8>, Unusable> {
    let answers: Result<Vec<Answer<'_>>, Unusable> = answers.iter().map(|body| Answer::read(body)).collect();
    let answers = answers?;
    if one_each && answers.iter().any(|answer| answer.items.len() != 1) {
        return Err(Unusable::Count);
    }
    let first = answers.first().ok_or(Unusable::Count)?;
    if answers.iter().any(|answer| answer.model() != first.model()) {
        return Err(Unusable::Model);
    }
    let tokens = answers.iter().fold(Tokens::default(), |sum, answer| sum.plus(answer.tokens));
    let items: Vec<(&[u8], &Item)> =
        answers.iter().flat_map(|answer| answer.items.iter().map(|item| (answer.body, item))).collect();
    Ok(first.with(&items, tokens))
}

/// As [`merge`], of answers to one input each.
///
/// # Errors
/// The same, and one of them has more or fewer than one embedding.
pub fn join(answers: &[&[u8]]) -> Result<Vec<u8>, Unusable> {
    together(answers, true)
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
        let nodes = outline(body, 3, MAX_NODES)?;
        let mut answer =
            Self { body, data: 0..0, usage: 0..0, model: None, items: Vec::new(), tokens: Tokens::default() };
        // By `index`, each once, whatever the order: else somebody would get another's vector.
        let mut items: Vec<(Option<u64>, bool, Item)> = Vec::new();
        let (mut prompt, mut total) = (None, None);
        let mut top: &[u8] = &[];
        for node in &nodes {
            let place = || node.value.clone();
            match node.depth {
                0 if node.kind == Kind::Object => {}
                1 => {
                    top = &node.name;
                    match (top, node.kind) {
                        (b"data", Kind::Array) if answer.data.is_empty() => answer.data = place(),
                        (b"usage", Kind::Object) if answer.usage.is_empty() => answer.usage = place(),
                        (b"model", _) => answer.model = Some(place()),
                        (b"data" | b"usage", _) => return Err(Unusable::Shape),
                        (b"error", kind) if kind != Kind::Null => return Err(Unusable::Shape),
                        _ => {}
                    }
                }
                2 if top == b"data" => items.push((None, false, Item { whole: place(), index: 0..0 })),
                2 if top == b"usage" && node.kind == Kind::Number => match &*node.name {
                    b"prompt_tokens" => prompt = number(body, node),
                    b"total_tokens" => total = number(body, node),
                    _ => {}
                },
                3 if top == b"data" => {
                    let Some((index, has_embedding, item)) = items.last_mut() else { continue };
                    match &*node.name {
                        b"embedding" => *has_embedding = node.kind != Kind::Null,
                        b"index" => {
                            *index = number(body, node);
                            item.index = place();
                        }
                        _ => {}
                    }
                }
                _ if node.depth > 0 => {}
                _ => return Err(Unusable::Shape),
            }
        }
        let prompt = prompt.or(total).ok_or(Unusable::Shape)?;
        answer.tokens = Tokens { prompt, total: total.unwrap_or(prompt) };
        if answer.data.is_empty()
            || items.iter().any(|(_, embedding, item)| !embedding || item.index.is_empty())
        {
            return Err(Unusable::Shape);
        }
        let mut places: Vec<Option<Item>> = std::iter::repeat_with(|| None).take(items.len()).collect();
        for (index, _, item) in items {
            let index = index.and_then(|index| usize::try_from(index).ok());
            match index.and_then(|index| places.get_mut(index)) {
                Some(place @ None) => *place = Some(item),
                _ => return Err(Unusable::Count),
            }
        }
        answer.items = places.into_iter().collect::<Option<_>>().ok_or(Unusable::Count)?;
        Ok(answer)
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
        if self.usage.start < self.data.start {
            changes.reverse();
        }
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

/// The whole number that a node is.
fn number(body: &[u8], node: &Node) -> Option<u64> {
    let lexical = body.get(node.value.clone()).filter(|_| node.kind == Kind::Number)?;
    let mut normal = Vec::new();
    normal_number(lexical, &mut normal).ok()?;
    whole_number(&normal)
}

/// More than an answer with as many inputs has as any provider takes.
const MAX_NODES: usize = 16_384;
