#include "server/log.h"

#include <grpc/support/log.h>
#include <limits.h>
#include <poll.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "server/text.h"

namespace vitower {
namespace {

// The request the message being written belongs to: formatters run on the thread that logs.
thread_local std::string_view current_request_id;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string Rfc3339(spdlog::log_clock::time_point time) {
  const auto since_epoch = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  const std::time_t seconds = static_cast<std::time_t>(since_epoch.count() / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t size = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + size, sizeof(text) - size, ".%03dZ", static_cast<int>(since_epoch.count() % 1000));
  return text;
}

template <typename View>
std::string Str(const View& view) {
  return std::string(view.data(), view.size());
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    nlohmann::ordered_json line;
    line["time"] = Rfc3339(message.time);
    line["level"] = Str(spdlog::level::to_string_view(message.level));
    line["message"] = Str(message.payload);
    if (!current_request_id.empty()) line["request_id"] = current_request_id;
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    std::string text = Rfc3339(message.time) + " " + Str(spdlog::level::to_string_view(message.level)) + " ";
    for (const char c : message.payload) text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    if (!current_request_id.empty()) text += " request_id=" + Str(current_request_id);
    text += "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<TextFormatter>(); }
};

// Writes to stderr and never waits for whoever reads it: lines for which there is no room in its pipe are lost, and the
// next that is written follows one that says how many.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (lost_ > 0 && Write(LostLine(message.logger_name))) lost_ = 0;
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (lost_ > 0 || !Write(line)) ++lost_;
  }
  void flush_() override {}

  spdlog::memory_buf_t LostLine(spdlog::string_view_t logger_name) {
    const std::string text = Cat(lost_, " lines of the log were lost: nobody read them");
    const std::string_view request_id = std::exchange(current_request_id, {});
    spdlog::memory_buf_t line;
    formatter_->format(spdlog::details::log_msg(logger_name, spdlog::level::warn, text), line);
    current_request_id = request_id;
    return line;
  }

  // A pipe that can be written to takes PIPE_BUF bytes at least. A line that ends in the middle gets its end later.
  bool Write(const spdlog::memory_buf_t& line) {
    std::string text(cut_ ? 1 : 0, '\n');
    text.append(line.data(), line.size());
    for (size_t begin = 0; begin < text.size();) {
      pollfd target{STDERR_FILENO, POLLOUT, 0};
      const size_t size = std::min<size_t>(text.size() - begin, PIPE_BUF);
      const bool ready = poll(&target, 1, /*timeout=*/0) == 1 && (target.revents & POLLOUT) != 0;
      const ssize_t written = ready ? write(STDERR_FILENO, text.data() + begin, size) : -1;
      cut_ = begin > 0 || cut_;
      if (written <= 0) return false;
      begin += static_cast<size_t>(written);
    }
    cut_ = false;
    return true;
  }

  int64_t lost_ = 0;
  bool cut_ = false;
};

LogLevel LevelOf(gpr_log_severity severity) {
  switch (severity) {
    case GPR_LOG_SEVERITY_DEBUG:
      return LogLevel::kDebug;
    case GPR_LOG_SEVERITY_INFO:
      return LogLevel::kInfo;
    case GPR_LOG_SEVERITY_ERROR:
      return LogLevel::kError;
  }
  return LogLevel::kError;
}

// A line for each handshake that fails: whoever reaches the port could fill the log with errors.
bool IsOfStrangers(const gpr_log_func_args& args) {
  return std::string_view(args.file).find("ssl_transport_security") != std::string_view::npos;
}

// gRPC prints lines of its own otherwise, which are not JSON.
void LogForGrpc(gpr_log_func_args* args) {
  Log(IsOfStrangers(*args) ? LogLevel::kDebug : LevelOf(args->severity), Cat("gRPC: ", args->message));
}

}  // namespace

void InitLogging(LogFormat format, LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>("vitower", std::make_shared<StderrSink>());
  if (format == LogFormat::kJson) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_formatter(std::make_unique<TextFormatter>());
  }
  logger->set_level(ToSpdlog(level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogForGrpc);
}

void Log(LogLevel level, std::string_view message, std::string_view request_id) {
  current_request_id = request_id;
  spdlog::default_logger_raw()->log(ToSpdlog(level), spdlog::string_view_t(message.data(), message.size()));
  current_request_id = {};
}

bool ShouldLog(LogLevel level) { return spdlog::default_logger_raw()->should_log(ToSpdlog(level)); }

}  // namespace vitower
