// Package doccheck holds the tests that keep the documents of the repository
// true where that is cheap. It has no code.
//
// They check that every relative link in a Markdown file leads to a file, and
// its fragment to a heading; that each complete Go program
// compiles and every other Go example parses; that README.zh-CN.md has the
// headings, the code and the tables of README.md; that every test and flag that
// the documents name exists.
//
// They do not check what a sentence says.
package doccheck
