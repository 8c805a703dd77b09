package strictjson

// HasEarlier is hasEarlier for tests: two names with one hash cannot be made.
var HasEarlier = hasEarlier
