package segue

func child(string) int { return 2 }
