#include "cli/parse.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vitower {
namespace {

absl::Status Unreadable(std::string_view text, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not ", expected));
}

template <class Number>
std::optional<Number> WholeNumber(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

struct Unit {
  std::string_view name;
  int64_t factor;
};

// "12.5ms" -> 12.5 and "ms".
std::pair<std::string_view, std::string_view> SplitUnit(std::string_view text) {
  const size_t unit = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string_view rest = text.substr(unit);
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  return {text.substr(0, unit), rest};
}

template <size_t N>
std::optional<int64_t> WithUnit(std::string_view text, const Unit (&units)[N]) {
  const auto [number, unit_name] = SplitUnit(text);
  const std::optional<double> value = WholeNumber<double>(number);
  const auto* unit = std::find_if(std::begin(units), std::end(units), [name = unit_name](const Unit& candidate) {
    return absl::AsciiStrToLower(std::string(name)) == std::string(candidate.name);
  });
  if (!value || unit == std::end(units)) return std::nullopt;
  const double product = *value * static_cast<double>(unit->factor);
  const double whole = std::round(product);
  if (std::abs(product - whole) > product * 1e-12 || whole >= 9.0e18) return std::nullopt;  // 1.001s is 1000999.9...us
  return static_cast<int64_t>(whole);
}

}  // namespace

absl::StatusOr<int64_t> ParseInt(std::string_view text) {
  const std::optional<int64_t> value = WholeNumber<int64_t>(text);
  if (!value) return Unreadable(text, "a whole number");
  return *value;
}

absl::StatusOr<double> ParseNumber(std::string_view text) {
  const std::optional<double> value = WholeNumber<double>(text);
  if (!value || !std::isfinite(*value)) return Unreadable(text, "a number");
  return *value;
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  const std::string lower = absl::AsciiStrToLower(std::string(text));
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "1") return true;
  if (lower == "false" || lower == "no" || lower == "off" || lower == "0") return false;
  return Unreadable(text, "true or false");
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  constexpr Unit kUnits[] = {{"", 1},
                             {"b", 1},
                             {"kb", 1'000},
                             {"mb", 1'000'000},
                             {"gb", 1'000'000'000},
                             {"kib", 1LL << 10},
                             {"mib", 1LL << 20},
                             {"gib", 1LL << 30}};
  const std::optional<int64_t> value = WithUnit(text, kUnits);
  if (!value) return Unreadable(text, "a size in bytes, such as 1048576, 64MB (10^6) or 256MiB (2^20)");
  return *value;
}

absl::StatusOr<std::chrono::microseconds> ParseDuration(std::string_view text) {
  constexpr Unit kUnits[] = {{"us", 1}, {"ms", 1'000}, {"s", 1'000'000}, {"min", 60'000'000}};
  if (text == "0") return std::chrono::microseconds(0);
  const std::optional<int64_t> value = WithUnit(text, kUnits);
  if (!value) return Unreadable(text, "a time with its unit, such as 200us, 5ms, 30s or 2min");
  return std::chrono::microseconds(*value);
}

absl::StatusOr<DType> ParseDType(std::string_view text) {
  for (DType dtype : {DType::kBf16, DType::kFp16, DType::kFp32}) {
    if (text == Name(dtype)) return dtype;
  }
  return Unreadable(text, "bf16, fp16 or fp32");
}

absl::StatusOr<std::array<uint8_t, 3>> ParseColor(std::string_view text) {
  const std::string_view digits = !text.empty() && text.front() == '#' ? text.substr(1) : text;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 6 || error != std::errc() || end != digits.data() + digits.size()) {
    return Unreadable(text, "a colour such as '#ffffff' (red, green, blue)");
  }
  return std::array<uint8_t, 3>{static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 8),
                                static_cast<uint8_t>(value)};
}

absl::StatusOr<WantedOutputs> ParseOutputs(std::string_view text) {
  constexpr char kExpected[] = "a list of tokens, deepstack, deepstack_N, pooled and pooled_slices";
  constexpr std::string_view kLevel = "deepstack_";
  WantedOutputs wanted;
  const std::vector<std::string> names = absl::StrSplit(std::string(text), ',');
  for (const std::string& name : names) {
    if (name == "tokens") {
      wanted.tokens = true;
    } else if (name == "deepstack") {
      wanted.all_deepstack = true;
    } else if (name == "pooled") {
      wanted.pooled = true;
    } else if (name == "pooled_slices") {
      wanted.pooled_slices = true;
    } else {
      const bool is_level = name.compare(0, kLevel.size(), kLevel) == 0;
      const std::optional<uint32_t> level = WholeNumber<uint32_t>(std::string_view(name).substr(is_level ? 10 : 0));
      if (!is_level || !level) return Unreadable(text, kExpected);
      wanted.deepstack_levels.push_back(*level);
    }
  }
  std::sort(wanted.deepstack_levels.begin(), wanted.deepstack_levels.end());
  wanted.deepstack_levels.erase(std::unique(wanted.deepstack_levels.begin(), wanted.deepstack_levels.end()),
                                wanted.deepstack_levels.end());
  return wanted;
}

}  // namespace vitower
