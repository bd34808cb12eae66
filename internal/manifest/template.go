package manifest

// Template is what `segue init` writes for the project in dir.
func Template(dir string) []byte { return nil }
