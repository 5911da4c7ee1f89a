#include "server/log.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace vitower {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

std::string LinesOf(LogFormat format, std::string_view message, std::string_view request_id) {
  testing::internal::CaptureStderr();
  InitLogging(format, LogLevel::kInfo);
  Log(LogLevel::kWarning, message, request_id);
  return testing::internal::GetCapturedStderr();
}

TEST(Log, JsonIsOneObjectALineWhateverTheMessageHolds) {
  const std::string message = "a \"quoted\"\nline \\ \x01 and \xFF";
  const std::string line = LinesOf(LogFormat::kJson, message, "id-1");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const nlohmann::json parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["level"], "warning");
  EXPECT_EQ(parsed["request_id"], "id-1");
  EXPECT_EQ(parsed["message"], "a \"quoted\"\nline \\ \x01 and \xEF\xBF\xBD");
  EXPECT_THAT(parsed["time"].get<std::string>(), MatchesRegex("[0-9-]{10}T[0-9:]{8}.[0-9]{3}Z"));
}

TEST(Log, JsonHasNoRequestIdWhereThereIsNone) {
  EXPECT_FALSE(nlohmann::json::parse(LinesOf(LogFormat::kJson, "started", "")).contains("request_id"));
}

TEST(Log, TextIsOneLineWhateverTheMessageHolds) {
  const std::string line = LinesOf(LogFormat::kText, "two\nlines", "id-2");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_THAT(line, HasSubstr("warning two lines request_id=id-2"));
}

TEST(Log, BelowTheLevelNothingIsWritten) {
  testing::internal::CaptureStderr();
  InitLogging(LogFormat::kText, LogLevel::kWarning);
  Log(LogLevel::kInfo, "quiet");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_FALSE(ShouldLog(LogLevel::kInfo));
  EXPECT_TRUE(ShouldLog(LogLevel::kError));
}

// stderr as a pipe that is read only when it is asked to be.
class StderrPipe final {
 public:
  StderrPipe() : stderr_(dup(STDERR_FILENO)) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    read_end_ = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
  }
  ~StderrPipe() {
    dup2(stderr_, STDERR_FILENO);
    close(stderr_);
    close(read_end_);
  }
  std::string Read() const {
    std::string text(1 << 20, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(read(read_end_, text.data(), text.size()), 0)));
    return text;
  }

 private:
  const int stderr_;
  int read_end_ = -1;
};

TEST(Log, NobodyWaitsForAStderrThatIsNotRead) {
  const StderrPipe pipe;
  InitLogging(LogFormat::kJson, LogLevel::kInfo);
  auto logged = std::async(std::launch::async, [] {
    for (int i = 0; i < 2000; ++i) Log(LogLevel::kInfo, std::string(i == 1000 ? 200'000 : 200, 'x'), "id-3");
  });
  EXPECT_EQ(logged.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  std::string text = pipe.Read();
  Log(LogLevel::kInfo, "read again");
  text += pipe.Read();
  EXPECT_THAT(text, HasSubstr(" lines of the log were lost: nobody read them\"}\n"));
  EXPECT_THAT(text, HasSubstr("\"message\":\"read again\"}\n"));
  std::istringstream lines(text);
  int parsed = 0;
  for (std::string line; std::getline(lines, line);) parsed += nlohmann::json::accept(line) ? 1 : 0;
  EXPECT_GT(parsed, 100);
}

TEST(Log, LinesOfGrpcAreJsonToo) {
  testing::internal::CaptureStderr();
  InitLogging(LogFormat::kJson, LogLevel::kInfo);
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_log(GPR_ERROR, "something \"%s\"", "broke");
  const nlohmann::json parsed = nlohmann::json::parse(testing::internal::GetCapturedStderr());
  EXPECT_EQ(parsed["level"], "error");
  EXPECT_EQ(parsed["message"], "gRPC: something \"broke\"");
}

}  // namespace
}  // namespace vitower
