package strictjson

// HasEarlier is hasEarlier for tests: two names with one hash cannot be made.
func HasEarlier(text string, start, end int, name string) bool {
	return hasEarlier(text, start, end, name, ignoreCase)
}
