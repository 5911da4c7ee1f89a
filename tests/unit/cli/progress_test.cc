#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace vitower {
namespace {

using ::testing::HasSubstr;

// Two streams in memory.
class ProgressTest : public ::testing::Test {
 protected:
  ProgressTest() : out_(std::tmpfile()), err_(std::tmpfile()) {}
  ~ProgressTest() override {
    std::fclose(out_);
    std::fclose(err_);
  }

  static std::string Text(std::FILE* file) {
    std::rewind(file);
    std::string text(4096, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file));
    return text;
  }

  std::FILE* const out_;
  std::FILE* const err_;
};

TEST_F(ProgressTest, TheBarIsTakenAwayBeforeALineAndAtTheEnd) {
  {
    Progress progress("embed", 2, ProgressStyle::kBar, out_, err_);
    progress.Result("a.jpg");
    progress.Advance();
  }
  EXPECT_EQ(Text(out_), "a.jpg\n");
  EXPECT_THAT(Text(err_), HasSubstr("] 0/2\r\x1b[K\rembed ["));
  EXPECT_THAT(Text(err_), HasSubstr("embed [###############...............] 1/2"));
  EXPECT_THAT(Text(err_), ::testing::EndsWith("\r\x1b[K"));
}

TEST_F(ProgressTest, ALogGetsALineEveryTenth) {
  Progress progress("embed", 200, ProgressStyle::kLines, out_, err_);
  for (int i = 0; i < 200; ++i) progress.Advance();
  const std::string text = Text(err_);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
  EXPECT_THAT(text, HasSubstr("embed: 20 of 200 files\n"));
}

TEST_F(ProgressTest, QuietStillTellsProblems) {
  {
    Progress progress("embed", 30, ProgressStyle::kQuiet, out_, err_);
    progress.Result("a.jpg");
    progress.Problem("b.jpg is bad");
    progress.Advance();
  }
  EXPECT_EQ(Text(out_), "");
  EXPECT_EQ(Text(err_), "b.jpg is bad\n");
}

TEST_F(ProgressTest, AFileIsNoTerminal) {
  EXPECT_EQ(ChooseProgressStyle(false, err_), ProgressStyle::kLines);
  EXPECT_EQ(ChooseProgressStyle(true, err_), ProgressStyle::kQuiet);
}

}  // namespace
}  // namespace vitower
