#include "server/request_id.h"

#include <algorithm>
#include <cstdint>
#include <random>

namespace vitower {
namespace {

constexpr size_t kLongest = 128;

bool IsSafe(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || (c >= '0' && c <= '9') || std::string_view("._:/+=@-").find(c) != std::string_view::npos;
}

std::string NewId() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  for (uint64_t bits = random(), i = 0; i < 16; ++i, bits >>= 4) id += kDigits[bits & 0xF];
  return id;
}

}  // namespace

std::string RequestId(std::string_view wanted) {
  const bool fit = !wanted.empty() && wanted.size() <= kLongest && std::all_of(wanted.begin(), wanted.end(), IsSafe);
  return fit ? std::string(wanted) : NewId();
}

}  // namespace vitower
