//! What is usual, what is not, and where it leads: estimators that know neither HTTP nor the clock. Nothing here is trained;
//! each figure that they tell can be worked out by hand from those beside it.

pub mod answers;
pub mod change;
pub mod detector;
pub mod ghosts;
pub mod hours;
pub mod lifetimes;
pub mod load;
pub mod parts;
pub mod series;
pub mod sketch;
pub mod trend;
pub mod usual;
mod week;
mod words;
