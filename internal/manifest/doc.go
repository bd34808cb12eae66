// Package manifest reads segue.yaml into a plan.
package manifest
