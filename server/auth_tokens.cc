#include "server/auth_tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "server/status.h"

namespace vitower {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

bool ConsistsOf(std::string_view text, std::string_view more) {
  return std::all_of(text.begin(), text.end(), [more](char c) {
    return kLetters.find(c) != std::string_view::npos || more.find(c) != std::string_view::npos;
  });
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::array<uint8_t, 32> Sha256(std::string_view text) {
  std::array<uint8_t, 32> digest{};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return digest;
}

}  // namespace

absl::StatusOr<AuthTokens> AuthTokens::Parse(std::string_view text) {
  AuthTokens tokens;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const absl::Status added = tokens.Add(line);
    if (!added.ok()) return BadInput("line ", number, ": ", std::string(added.message()));
  }
  return tokens;
}

absl::Status AuthTokens::Add(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return BadInput("it is not NAME:TOKEN");
  const std::string name(Trimmed(line.substr(0, colon)));
  const std::string_view token = Trimmed(line.substr(colon + 1));
  if (name.empty() || !ConsistsOf(name, "-._@")) return BadInput("the name must be of letters, digits and -._@");
  if (!ConsistsOf(token, "-._~+/=")) return BadInput("the token must be of letters, digits and -._~+/=");
  if (token.size() < kShortest) {
    return BadInput("the token has ", token.size(), " characters; it must have at least ", kShortest);
  }
  const Digest digest = Sha256(token);
  if (std::find(digests_.begin(), digests_.end(), digest) != digests_.end())
    return BadInput("the token is there twice");
  digests_.push_back(digest);
  if (std::find(names_.begin(), names_.end(), name) == names_.end()) names_.push_back(name);
  return absl::OkStatus();
}

std::string AuthTokens::names() const {
  std::string joined;
  for (const std::string& name : names_) joined += (joined.empty() ? "" : ", ") + name;
  return joined;
}

bool AuthTokens::Knows(std::string_view token) const {
  const Digest digest = Sha256(token);
  int found = 0;
  for (const Digest& one : digests_)
    found |= static_cast<int>(CRYPTO_memcmp(one.data(), digest.data(), one.size()) == 0);
  return found != 0;
}

}  // namespace vitower
