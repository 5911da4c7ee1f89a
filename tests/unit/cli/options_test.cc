#include "cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli/parse.h"
#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

// A sub-command "serve" with three options, and an environment of its own.
class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest()
      : options_(*root_.add_subcommand("serve", ""), [this](const char* name) -> const char* {
          const auto found = environment_.find(name);
          return found == environment_.end() ? nullptr : found->second.c_str();
        }) {
    root_.add_subcommand("embed", "");
    options_.Add({"max-batch-patches", "N", "1024", ""}, Into(&patches_, ParseInt, /*min=*/4));
    options_.Add({"model", "MODEL", "", ""}, IntoText(&model_));
    options_.AddSwitch("quiet", "", &quiet_);
  }

  absl::Status Parse(const std::string& arguments) {
    root_.parse("serve " + arguments);
    return options_.Resolve();
  }

  std::string ConfigFile(const std::string& text) { return "--config " + folder_.Write("v.toml", text).string() + " "; }

  TemporaryFolder folder_;
  std::map<std::string, std::string> environment_;
  CLI::App root_;
  Options options_;
  int64_t patches_ = 0;
  std::string model_;
  bool quiet_ = false;
};

TEST_F(OptionsTest, DefaultsHoldWhereNothingIsGiven) {
  ASSERT_TRUE(Parse("").ok());
  EXPECT_EQ(patches_, 1024);
  EXPECT_EQ(model_, "");
  EXPECT_FALSE(quiet_);
  EXPECT_EQ(options_.source("max-batch-patches"), OptionSource::kDefault);
}

TEST_F(OptionsTest, TheConfigFileOutweighsTheDefault) {
  ASSERT_TRUE(Parse(ConfigFile("# a comment\nmax-batch-patches = 7\nmodel = \"random:2b\"\nquiet = true\n")).ok());
  EXPECT_EQ(patches_, 7);
  EXPECT_EQ(model_, "random:2b");
  EXPECT_TRUE(quiet_);
  EXPECT_EQ(options_.source("model"), OptionSource::kConfigFile);
}

TEST_F(OptionsTest, TheEnvironmentOutweighsTheConfigFile) {
  environment_ = {{"VITOWER_MAX_BATCH_PATCHES", "8"}, {"VITOWER_QUIET", "no"}};
  ASSERT_TRUE(Parse(ConfigFile("max-batch-patches = 7\nquiet = true\n")).ok());
  EXPECT_EQ(patches_, 8);
  EXPECT_FALSE(quiet_);
  EXPECT_EQ(options_.source("max-batch-patches"), OptionSource::kEnvironment);
}

TEST_F(OptionsTest, TheCommandLineOutweighsTheEnvironment) {
  environment_ = {{"VITOWER_MAX_BATCH_PATCHES", "8"}, {"VITOWER_QUIET", "false"}};
  ASSERT_TRUE(Parse("--max-batch-patches 9 --quiet").ok());
  EXPECT_EQ(patches_, 9);
  EXPECT_TRUE(quiet_);
  EXPECT_EQ(options_.source("max-batch-patches"), OptionSource::kCommandLine);
}

TEST_F(OptionsTest, TheConfigFileMayBeNamedByTheEnvironment) {
  environment_ = {{"VITOWER_CONFIG", folder_.Write("v.toml", "model = m\n").string()}};
  ASSERT_TRUE(Parse("").ok());
  EXPECT_EQ(model_, "m");
}

TEST_F(OptionsTest, AnEmptyVariableIsAsIfUnset) {
  environment_ = {{"VITOWER_MAX_BATCH_PATCHES", ""}};
  ASSERT_TRUE(Parse("").ok());
  EXPECT_EQ(patches_, 1024);
}

TEST_F(OptionsTest, ASectionOfNoSubcommandIsRefusedByName) {
  EXPECT_THAT(std::string(Parse(ConfigFile("[sevre]\nmax-batch-patches = 7\n")).message()), HasSubstr("[sevre]"));
}

TEST_F(OptionsTest, SectionsOfOtherSubcommandsAreLeftAlone) {
  ASSERT_TRUE(
      Parse(ConfigFile("model = a\n[embed]\nmodel = b\nconcurrency = 3\n[serve]\nmax-batch-patches = 7\n")).ok());
  EXPECT_EQ(model_, "a");
  EXPECT_EQ(patches_, 7);
}

TEST_F(OptionsTest, AnUnknownKeyOfTheConfigFileIsRefusedByName) {
  const absl::Status status = Parse(ConfigFile("max-batch-patch = 7\n"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("serve has no option \"max-batch-patch\""));
}

TEST_F(OptionsTest, AMissingConfigFileIsRefusedByName) {
  EXPECT_THAT(std::string(Parse("--config /nowhere/v.toml").message()), HasSubstr("/nowhere/v.toml"));
}

TEST_F(OptionsTest, ABadValueIsNamedWithItsSource) {
  environment_ = {{"VITOWER_MAX_BATCH_PATCHES", "many"}};
  EXPECT_EQ(std::string(Parse("").message()),
            "--max-batch-patches (environment VITOWER_MAX_BATCH_PATCHES): \"many\" is not a whole number");
}

TEST_F(OptionsTest, AValueOutOfRangeIsRefusedWithTheLimit) {
  EXPECT_THAT(std::string(Parse("--max-batch-patches 3").message()),
              HasSubstr("3 is out of range: it must be at least 4"));
}

TEST_F(OptionsTest, DescribeTellsEveryValueAndItsSource) {
  environment_ = {{"VITOWER_MODEL", "random:2b"}};
  ASSERT_TRUE(Parse("--quiet").ok());
  const std::string text = options_.Describe();
  EXPECT_THAT(text, ::testing::ContainsRegex("max-batch-patches = 1024 +# default\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("model = random:2b +# environment VITOWER_MODEL\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("quiet = true +# command line\n"));
}

TEST_F(OptionsTest, DescribeIsItselfAConfigFile) {
  environment_ = {{"VITOWER_MODEL", "a folder, with spaces"}, {"VITOWER_MAX_BATCH_PATCHES", "12"}};
  ASSERT_TRUE(Parse("").ok());
  const std::string config = ConfigFile(options_.Describe());
  environment_.clear();
  ASSERT_TRUE(Parse(config).ok());
  EXPECT_EQ(model_, "a folder, with spaces");
  EXPECT_EQ(patches_, 12);
}

}  // namespace
}  // namespace vitower
