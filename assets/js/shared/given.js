// A component in a tab that was never open may be mounted by an update of its value, without its other properties: `own` has
// those that it was made with.
const given = (name) => props[name] ?? own[name];
