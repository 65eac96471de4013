// SPDX-License-Identifier: Apache-2.0
// Empty: a package with an assembly file may declare functions without a body (go:linkname).
