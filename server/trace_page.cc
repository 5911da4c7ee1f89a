#include "server/trace_page.h"

#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "server/text.h"

namespace vitower {
namespace {

constexpr char kPrefix[] = "vitower-";
constexpr char kSuffix[] = ".trace.json";
constexpr int64_t kMostTraces = 32;  // in the folder

HttpPage TextPage(int code, std::string body) {
  HttpPage page;
  page.code = code;
  page.body = std::move(body);
  return page;
}

std::optional<int> SecondsOf(std::string_view query) {
  constexpr std::string_view kName = "seconds=";
  if (query.substr(0, kName.size()) != kName) return std::nullopt;
  const std::string_view digits = query.substr(kName.size());
  const char* end = digits.data() + digits.size();
  int seconds = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, seconds);
  if (error != std::errc() || stop != end || seconds < 1 || seconds > 60) return std::nullopt;
  return seconds;
}

std::string FileName() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return Cat(kPrefix, std::chrono::duration_cast<std::chrono::milliseconds>(now).count(), kSuffix);
}

int64_t CountTraces(const std::string& folder) {
  std::error_code ignored;  // a folder that cannot be read is told of when the file is written
  int64_t count = 0;
  for (std::filesystem::directory_iterator at(folder, ignored), end; at != end; at.increment(ignored)) {
    const std::string name = at->path().filename();
    const bool is_trace = name.rfind(kPrefix, 0) == 0 && name.find(kSuffix) != std::string::npos;
    count += static_cast<int64_t>(is_trace);
  }
  return count;
}

}  // namespace

HttpPage TracePage(std::string_view query, const std::string& folder, Tracer& tracer) {
  const std::optional<int> seconds = SecondsOf(query);
  if (!seconds) return TextPage(400, "ask for /debug/trace?seconds=N, N from 1 to 60\n");
  if (const int64_t traces = CountTraces(folder); traces >= kMostTraces) {
    return TextPage(409, Cat(folder, " holds ", traces, " traces, and ", kMostTraces, " at most: remove some\n"));
  }
  const absl::StatusOr<std::string> trace = tracer.Record(std::chrono::seconds(*seconds));
  if (!trace.ok()) return TextPage(409, Cat(std::string(trace.status().message()), "\n"));
  const std::string path = Cat(folder, "/", FileName());
  std::ofstream file(path, std::ios::binary);
  file << *trace;
  file.close();
  if (!file) return TextPage(500, Cat("cannot write ", path, "\n"));
  return TextPage(200, Cat(path, "\n"));
}

}  // namespace vitower
