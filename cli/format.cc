#include "cli/format.h"

namespace vitower {
namespace {

struct Scale {
  const char* name;
  int64_t size;
};

// In the largest unit, of those listed from large to small, of which it is a whole number.
template <size_t N>
std::string InLargestUnit(int64_t value, const Scale (&units)[N]) {
  for (const Scale& unit : units) {
    if (value != 0 && value % unit.size == 0) return std::to_string(value / unit.size) + unit.name;
  }
  return std::to_string(value);
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  return InLargestUnit(bytes, {{"GiB", 1LL << 30}, {"MiB", 1LL << 20}, {"KiB", 1LL << 10}});
}

std::string FormatDuration(std::chrono::microseconds value) {
  return InLargestUnit(value.count(), {{"s", 1'000'000}, {"ms", 1'000}, {"us", 1}});
}

}  // namespace vitower
