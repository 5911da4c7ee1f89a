// private header
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vitower {

// The tokens that clients may show. Their text is not kept, only its SHA-256. Immutable.
class AuthTokens final {
 public:
  static constexpr size_t kShortest = 16;  // characters of a token

  // One NAME:TOKEN a line; blank lines and lines that begin with # do not count. A name, for people, may have several
  // tokens; a token of 16 or more letters, digits and -._~+/= may have one name. INVALID_ARGUMENT names the line, and
  // never its text.
  static absl::StatusOr<AuthTokens> Parse(std::string_view text);

  bool empty() const { return digests_.empty(); }
  bool operator==(const AuthTokens& other) const { return digests_ == other.digests_ && names_ == other.names_; }

  // Takes as long for a token that is known as for any other of its length.
  bool Knows(std::string_view token) const;

  // Each once, in the order of the text, with commas between.
  std::string names() const;

 private:
  using Digest = std::array<uint8_t, 32>;

  absl::Status Add(std::string_view line);

  std::vector<Digest> digests_;
  std::vector<std::string> names_;
};

}  // namespace vitower
